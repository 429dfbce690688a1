"""`ultrasam compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ultrasam.cli.options import Json
from ultrasam.errors import EvaluationError
from ultrasam.extras import require

_FILE = typer.Argument(metavar="FILE", help="Results of a model: DIR/MODEL.jsonl.")

# Settings without which the prompts or the measures are not the same, and their options.
_SHARED = {
    "seed": "--seed", "repeats": "--repeats", "tolerance_mm": "--tolerance-mm",
    "tolerance_px": "--tolerance-px",
}  # fmt: skip


def compare(
    first: Annotated[Path, _FILE], second: Annotated[Path, _FILE], as_json: Json = False
) -> None:
    """Compare two models on the objects that both evaluations have, with paired tests.

    Takes two files of results that ultrasam evaluate wrote with the same seed, repeats and tolerances.
    """
    require("Evaluation", "polars", extra="evaluate")
    for file in (first, second):
        if file.is_dir():
            raise EvaluationError(f"{file} is a folder; give a file in it, {file}/MODEL.jsonl.")
        if not file.is_file():
            raise EvaluationError(
                f"{file} does not exist; give two files that ultrasam evaluate wrote, DIR/MODEL.jsonl."
            )
    from ultrasam.evaluation.report.results import read_results
    from ultrasam.evaluation.report.tables import difference_table

    results = [read_results(first), read_results(second)]
    for setting, option in _SHARED.items():
        if results[0].settings[setting] != results[1].settings[setting]:
            raise EvaluationError(
                f"{first} and {second} were evaluated with another {option}; evaluate both with the same."
            )
    tables = {measure: difference_table(results, measure) for measure in ("dice", "surface_dice")}
    if any(table is None for table in tables.values()):
        raise EvaluationError(f"{first} and {second} have no object and prompt type in common.")
    found = {measure: table for measure, table in tables.items() if table is not None}
    if as_json:
        rows = {
            measure: [dict(zip(table.head, row, strict=True)) for row in table.rows]
            for measure, table in found.items()
        }
        print(json.dumps(rows, indent=1))
        return
    for table in found.values():
        print(table.markdown())
