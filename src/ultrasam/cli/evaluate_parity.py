"""`ultrasam evaluate parity`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ultrasam.cli import checks
from ultrasam.cli.options import Device, Json, Model, RuntimeOption, SampleData
from ultrasam.cli.progress import progress_bar
from ultrasam.errors import EvaluationError
from ultrasam.extras import require

if TYPE_CHECKING:
    from ultrasam.evaluation.parity import Comparison


def parity(
    model: Model,
    data: SampleData = None,
    expect: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default="those measured with the published weights",
            help="Figures to expect (YAML).",
        ),
    ] = None,
    device: Device = None,
    runtime: RuntimeOption = None,
    as_json: Json = False,
) -> None:
    """Check weights against figures that others measured with the published ones.

    Runs the published protocol on the ten images of the UltraSam repository's sample (by default the folder
    sample_dataset): the tight box or a click at the center of mass, refinement, COCO's average precision.
    Exit status 1: a figure departs.
    """  # fmt: skip
    require("Evaluation", "polars", "pyarrow", "pydantic", extra="evaluate")
    checks.check_models([model])
    checks.check_device(device)
    if expect is not None and not expect.is_file():
        raise EvaluationError(f"{expect} does not exist; --expect takes a YAML file of figures.")

    from ultrasam.evaluation import parity as gate
    from ultrasam.evaluation.published import PARITY

    path = checks.only_one(data or [gate.SAMPLE], "--data")
    if not Path(path).expanduser().exists():
        raise EvaluationError(f"{path} does not exist; {gate.HOW_TO_GET_THE_SAMPLE}.")
    expected = PARITY if expect is None else gate.read_expectations(expect)
    images = gate.read_sample(path)
    if expect is None:
        gate.check_sample(images, path)
    from ultrasam.inference.predictor import Predictor

    predictor = Predictor(model, refine=False, tta=False, device=device, runtime=runtime)
    if not {"box", "point", "mask"} <= predictor.accepts:
        raise EvaluationError(
            f"'{model}' accepts only {' and '.join(sorted(predictor.accepts))} prompts; the published "
            "protocol needs boxes, clicks and masks."
        )
    prompts = list(dict.fromkeys(prompt for prompt, _ in expected))
    with progress_bar("Parity") as on_progress:
        measured = gate.measure(predictor, images, prompts=prompts, on_progress=on_progress)
    rows = gate.compare(measured, expected)
    hints = gate.hints(rows)
    if as_json:
        print(json.dumps(_content(rows, hints), indent=1))
    else:
        _show(rows, hints)
    if hints:
        raise typer.Exit(1)


def _content(rows: list[Comparison], hints: list[str]) -> dict[str, Any]:
    figures = [
        {
            "prompt": row.prompt, "measure": row.title, "expected": row.expected,
            "measured": None if math.isnan(row.measured) else row.measured, "passes": row.passes,
        }
        for row in rows
    ]  # fmt: skip
    return {"passes": not hints, "figures": figures, "hints": hints}


def _show(rows: list[Comparison], hints: list[str]) -> None:
    from ultrasam.evaluation.parity import TOLERANCES
    from ultrasam.reporting.tables import Table, number

    cells = tuple(
        (
            row.prompt, row.title, f"{row.expected:.3f}", number(row.measured),
            f"{row.difference:+.3f}", f"{TOLERANCES[row.measure]:g}", "yes" if row.passes else "**no**",
        )
        for row in rows
    )  # fmt: skip
    head = ("prompt", "measure", "expected", "measured", "difference", "tolerance", "within")
    wrong = sum(not row.passes for row in rows)
    title = f"{wrong} of {len(rows)} figures depart" if wrong else f"All {len(rows)} figures agree"
    print(Table(title, head, cells).markdown())
    for hint in hints:
        print(f"- {hint}")
