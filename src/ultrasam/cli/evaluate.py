"""`ultrasam evaluate`, with its subcommands."""

from __future__ import annotations

import json
import logging
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ultrasam.cli import checks, evaluate_few_shot, evaluate_parity
from ultrasam.cli.options import (
    REPEATS,
    Data,
    Datasets,
    Device,
    EvaluatedSplit,
    Json,
    Limit,
    RuntimeOption,
    out_option,
    prompt_type_option,
)  # fmt: skip
from ultrasam.cli.progress import progress_bar
from ultrasam.cli.subcommands import CommandWithSubcommands, complete_subcommands
from ultrasam.errors import EvaluationError
from ultrasam.extras import require

if TYPE_CHECKING:
    from ultrasam.evaluation.report.results import Results
    from ultrasam.evaluation.suite import EvaluationSuite

logger = logging.getLogger(__name__)

app = typer.Typer(
    cls=CommandWithSubcommands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("parity")(evaluate_parity.parity)
app.command("few-shot")(evaluate_few_shot.few_shot)
_PROMPT_TYPES = ("box", "interior", "interior5", "box-noisy", "random")


@app.callback()
def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL",
            autocompletion=complete_subcommands,
            help="Models by name or path; ellipse, filled-box, grabcut, disc, random-walker; "
            "transformers:REPOSITORY; or one suite, such as evaluation/paper.",
        ),
    ],
    data: Data,
    dataset: Datasets = None,
    split: Annotated[
        EvaluatedSplit | None,
        typer.Option(
            help="Only this split of a store.", show_default="test, or all without a test split"
        ),
    ] = None,
    prompt_type: Annotated[list[str] | None, prompt_type_option(" ".join(_PROMPT_TYPES))] = None,
    out: Annotated[
        Path | None,
        out_option("Folder for the results and the report.", default="runs/evaluate/DATA"),
    ] = None,
    limit: Limit = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="NUMBER",
            show_default="0, or the suite's",
            help="Seed of all random numbers.",
        ),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="NUMBER",
            show_default="3, or the suite's",
            help=REPEATS,
        ),
    ] = None,
    tolerance_mm: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="MM",
            help="Tolerance of the surface Dice, if the pixel spacing is known.",
        ),
    ] = 1.0,
    tolerance_px: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="PIXELS",
            help="Tolerance of the surface Dice, if the spacing is unknown.",
        ),
    ] = 2.0,
    source: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=ID",
            help="The published data set that a data set of yours comes from, so that the report knows which "
            "models have seen it (repeatable).",
        ),
    ] = None,
    title: Annotated[
        str | None,
        typer.Option(metavar="TEXT", show_default="Evaluation", help="Heading of the report."),
    ] = None,
    cases: Annotated[
        bool,
        typer.Option(
            help="Embed the worst cases in the HTML report (use --no-cases if the images must not be shared)."
        ),
    ] = True,
    device: Device = None,
    runtime: RuntimeOption = None,
    as_json: Json = False,
) -> None:
    """Evaluate models side by side on the same prompts.

    Writes one line of JSON per image, report.md and report.html. Run the same command again to resume an
    interrupted evaluation; if it is complete, only the report is rebuilt.
    """  # fmt: skip
    require("Evaluation", "markdown_it", "polars", "pyarrow", "pydantic", extra="evaluate")
    checks.check_device(device)
    checks.check_paths(data)
    no_store = [path for path in data if not checks.is_store(path)]
    if split is not None and no_store:
        raise EvaluationError(
            f"--split applies to stores, and {no_store[0]} is not a store; leave --split out, or build a "
            "store with 'ultrasam data build'."
        )
    types = checks.no_commas(prompt_type, "--prompt-type")
    suite = _suite(models, types, title)
    strict = _suite_file(models) is None
    out = checks.output(out, "evaluate", data[0])

    from ultrasam.evaluation.suite_run import problems_of, run_suite

    problems = problems_of(suite)
    # The default prompt types are more than some baselines take.
    refused = [*problems.names.values(), *(problems.unaccepted if types else ())]
    if strict and refused:
        raise EvaluationError(" ".join(refused))
    for name, problem in problems.by_title.items():
        logger.warning("Left out: %s: %s", name, problem)
    from ultrasam.evaluation.records import EvaluationSettings
    from ultrasam.evaluation.report.report import EvaluationReport, write_report
    from ultrasam.evaluation.report.summary import left_out
    from ultrasam.evaluation.sources import open_evaluation_datasets

    settings = EvaluationSettings(
        suite.prompts,
        seed=suite.seed if seed is None else seed,
        repeats=suite.repeats if repeats is None else repeats,
        tolerance_mm=tolerance_mm,
        tolerance_px=tolerance_px,
    )
    collections = open_evaluation_datasets(
        data,
        split=None if split is None else split.value,
        only=dataset or (),
        limit=suite.limit if limit is None else limit,
    )
    sources = suite.sources | _sources(source or [], [data.name for data in collections])
    not_chosen = [text for collection in collections for text in collection.not_chosen]
    not_chosen += suite.limits()
    for text in not_chosen:
        logger.warning("%s", text)
    found, missing = run_suite(
        suite, collections, settings, out, problems=problems, strict=strict, progress=progress_bar,
        device=device, runtime=runtime,
    )  # fmt: skip
    if not found:
        raise EvaluationError("Nothing could be evaluated, for the reasons above.")
    _check_objects(found, data)
    found = [replace(results, sources=sources) for results in found]
    command = shlex.join(["ultrasam", *sys.argv[1:]])
    report = EvaluationReport(suite.title, command, tuple(found), tuple(missing), tuple(not_chosen))
    pages = write_report(report, out, collections, cases=cases)
    if as_json:
        content = {
            "models": [_summary(results) for results in found],
            "missing": missing,
            "report": [str(path) for path in pages],
        }
        print(json.dumps(content, indent=1))
    else:
        for path in pages:
            print(path)
    for text in left_out(found, ()):
        logger.warning("Not in the means: %s", text)
    if missing and strict:
        raise typer.Exit(1)


def _sources(stated: list[str], names: list[str]) -> dict[str, str]:
    """Ids of published data sets by the names of data sets that come from them.

    Raises:
        DataError: A published data set is unknown.
        EvaluationError: It is not NAME=ID, there is no data set of that name, or it has two sources.
    """
    from ultrasam.evaluation.suite import published_sources

    pairs: dict[str, str] = {}
    for name, _, id in (text.partition("=") for text in stated):
        if not name or not id:
            raise EvaluationError(
                f"--source takes NAME=ID, such as mine=busi; '{name or id}' is not of that form."
            )
        if name not in names:
            raise EvaluationError(
                f"--source: no data set is named '{name}'; there are {', '.join(names)}."
            )
        if pairs.setdefault(name, id) != id:
            raise EvaluationError(
                f"--source: {name} has two sources, {pairs[name]} and {id}; give it one."
            )
    return published_sources(pairs)


def _check_objects(found: list[Results], data: list[str]) -> None:
    """Refuse to report on nothing.

    Raises:
        EvaluationError: No model has a result for an object.
    """
    if any(len(results.table) for results in found):
        return
    errors = found[0].errors
    reason = f" The first problem: {errors[0]['image']}: {errors[0]['error']}" if errors else ""
    raise EvaluationError(
        f"No image of {', '.join(data)} has an object that could be evaluated.{reason}"
    )


def _suite_file(models: list[str]) -> Path | None:
    """The suite that is named in place of models; None if none is.

    Raises:
        EvaluationError: There is no such suite, or other models are named beside it.
    """
    from ultrasam.training.shipped import recipe_path, shipped_recipes

    shipped = [name for name in shipped_recipes() if name.startswith("evaluation/")]
    named = [
        name
        for name in models
        if name.endswith((".yaml", ".yml"))
        or name in shipped
        or (name.startswith("evaluation/") and not Path(name).exists())
    ]
    if not named:
        return None
    if len(models) > 1:
        raise EvaluationError(
            f"{named[0]} is a suite, which takes no further MODEL; to add a model, copy it with 'ultrasam "
            "recipes copy' and add a line."
        )
    if named[0] in shipped:
        return recipe_path(named[0])
    if not Path(named[0]).is_file():
        raise EvaluationError(
            f"Unknown suite '{named[0]}'; give a file, or one of {', '.join(shipped)}."
        )
    return Path(named[0])


def _suite(models: list[str], types: list[str], title: str | None) -> EvaluationSuite:
    """What to evaluate.

    Raises:
        EvaluationError: A prompt type is unknown, or an option is given that a suite determines.
    """
    file = _suite_file(models)
    from ultrasam.evaluation.prompt_types import PromptKind
    from ultrasam.evaluation.suite import load_suite, suite_from_models

    if file is not None:
        if types or title is not None:
            raise EvaluationError(
                f"{models[0]} is a suite, which has its own prompt types and title; leave --prompt-type and "
                "--title out."
            )
        return load_suite(file)
    for name in types:
        PromptKind.parse(name)
    suite = suite_from_models(models, types or list(_PROMPT_TYPES))
    return suite.model_copy(update={"title": title or suite.title})


def _summary(results: Results) -> dict[str, Any]:
    """Means over all objects, by data set and prompt type."""
    measures = ("dice", "iou", "surface_dice")
    scores = {
        name: {
            kind: {measure: table[measure].mean() for measure in measures}
            | {"objects": table.select("image", "object").n_unique()}
            for kind in results.kinds
            if len(table := results.rows(kind, name))
        }
        for name in sorted(results.table["dataset"].unique())
    }
    images = sum("objects" in record for record in results.images) + len(results.errors)
    return {
        "model": results.name, "images": images, "errors": len(results.errors),
        "without_object": len(results.without_object), "left_out": len(results.left_out),
        "scores": scores,
    }  # fmt: skip
