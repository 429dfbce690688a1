"""`ultrasam evaluate few-shot`."""

from __future__ import annotations

import json
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ultrasam.cli import checks
from ultrasam.cli.options import (
    REPEATS,
    Data,
    Datasets,
    Device,
    Json,
    Limit,
    Seed,
    TestFraction,
    Workers,
    out_option,
    prompt_type_option,
)  # fmt: skip
from ultrasam.cli.progress import progress_bar
from ultrasam.cli.train import require_training
from ultrasam.errors import EvaluationError
from ultrasam.extras import require

logger = logging.getLogger(__name__)

_PROMPT_TYPES = ("box", "interior")
_SHOTS = ("1", "2", "5", "10", "20", "30")


def few_shot(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL", help="Promptable models to fine-tune, by name or path, such as nano."
        ),
    ],
    data: Data,
    dataset: Datasets = None,
    shots: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NUMBER",
            show_default=" ".join(_SHOTS),
            help="Number of training images (repeatable).",
        ),
    ] = None,
    draws: Annotated[
        int, typer.Option(min=1, metavar="NUMBER", help="Draws of training images for each number.")
    ] = 3,
    prompt_type: Annotated[list[str] | None, prompt_type_option(" ".join(_PROMPT_TYPES))] = None,
    out: Annotated[
        Path | None,
        out_option("Folder for the results and the report.", default="runs/few-shot/DATA"),
    ] = None,
    test_fraction: TestFraction = None,
    limit: Limit = None,
    repeats: Annotated[int, typer.Option(min=1, metavar="NUMBER", help=REPEATS)] = 3,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="NUMBER", show_default="200", help="Training steps of each fine-tuning."
        ),
    ] = None,
    seed: Seed = 0,
    workers: Workers = 0,
    keep_models: Annotated[
        bool, typer.Option("--keep-models", help="Keep the fine-tuned models in DIR/models.")
    ] = False,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Fine-tune models on a few images of a new data set, and show what that gains.

    Each model is evaluated as it is, and fine-tuned on draws of 1, 2, 5, … images; the test set is fixed, and
    none of its subjects is trained on. It is the test split of --data, or a fifth of the subjects. Without
    validation images, training takes a fixed number of steps. Run the same command again to resume: finished
    runs are not repeated.
    """
    require_training()
    require("Evaluation", "markdown_it", "polars", "pyarrow", "pydantic", extra="evaluate")
    numbers = parse_shots(shots or _SHOTS)
    checks.check_device(device)
    checks.check_paths(data)
    types = tuple(checks.no_commas(prompt_type, "--prompt-type")) or _PROMPT_TYPES
    out = checks.output(out, "few-shot", data[0])

    from ultrasam.evaluation.models.registry import check_trainable

    for model in models:
        check_trainable(model)

    from ultrasam.evaluation.prompt_types import PromptKind

    for name in types:
        PromptKind.parse(name)

    from ultrasam.downstream.few_shot import FewShotSettings, run_few_shot, too_many_shots
    from ultrasam.downstream.few_shot_data import open_few_shot_data
    from ultrasam.downstream.few_shot_report import FewShotReport, write_few_shot_report
    from ultrasam.evaluation.records import EvaluationSettings
    from ultrasam.training.custom import FEW_SHOT_STEPS

    settings = FewShotSettings(
        EvaluationSettings(types, seed=seed, repeats=repeats),
        numbers,
        draws,
        seed=seed,
        steps=steps or FEW_SHOT_STEPS,
        device=device,
        workers=workers,
        keep_models=keep_models,
    )
    datasets = open_few_shot_data(
        data,
        datasets=dataset or (),
        test_fraction=0.2 if test_fraction is None else test_fraction,
        limit=limit,
        seed=seed,
        workers=workers,
    )
    for found in datasets:
        logger.info("%s", found.how)
    too_many = too_many_shots(datasets, settings)
    runs, failed = run_few_shot(models, datasets, out, settings, progress=progress_bar)
    missing = [*too_many, *failed]
    for text in missing:
        logger.warning("Not run: %s", text)
    if not runs:
        raise EvaluationError(f"Nothing could be evaluated: {missing[0]}")
    how = [*(found.how for found in datasets), settings.training]
    command = shlex.join(["ultrasam", *sys.argv[1:]])
    report = FewShotReport(command, out, runs, how, missing)
    pages = write_few_shot_report(report)
    if as_json:
        curves = [
            {
                "dataset": name,
                "prompt": kind,
                "model": model,
                "curve": [point.to_json() for point in points],
            }
            for name, kind in report.panels()
            for model, points in report.curves(name, kind).items()
        ]
        content = {"curves": curves, "missing": missing, "report": [str(path) for path in pages]}
        print(json.dumps(content, indent=1))
    else:
        for path in pages:
            print(path)
    if failed or (too_many and shots):
        raise typer.Exit(1)


def parse_shots(values: Sequence[str]) -> tuple[int, ...]:
    """Numbers of training images, in ascending order; a value may be several with commas, as it once was.

    Raises:
        EvaluationError: A part is not a number, or none is above 0.
    """
    parts = [part.strip() for value in values for part in value.split(",")]
    numbers = sorted({int(part) for part in parts if part.isascii() and part.isdigit()})
    if not all(part.isascii() and part.isdigit() for part in parts) or not any(numbers):
        raise EvaluationError(
            f"--shots {' '.join(values)}: give a number of training images, and repeat it for others: "
            "--shots 1 --shots 5."
        )
    return tuple(numbers)
