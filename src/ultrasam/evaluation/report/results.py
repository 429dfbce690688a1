"""Results read back, as tables to compute with."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ultrasam.errors import EvaluationError
from ultrasam.evaluation.metrics.average_precision import (
    ImageDetections,
    Precision,
    average_precision,
)
from ultrasam.evaluation.metrics.masks import METRICS
from ultrasam.extras import needs

with needs("Evaluation", extra="evaluate"):
    import polars as pl

DISTANCES = ("hd95", "assd")


@dataclass(frozen=True)
class Results:
    """One competitor's results.

    Attributes:
        name: what it is called in the report.
        settings: as `ultrasam.evaluation.runner.Settings`, with the kinds of prompts that it took.
        images: the lines, one an image.
    """

    name: str
    settings: dict[str, Any]
    images: tuple[dict[str, Any], ...]

    @property
    def kinds(self) -> list[str]:
        return list(self.settings["prompts"])

    @property
    def errors(self) -> list[dict[str, Any]]:
        """Images that could not be read or segmented."""
        return [line for line in self.images if "error" in line]

    @property
    def without_object(self) -> list[dict[str, Any]]:
        """Images that show no object of at least 64 pixels."""
        return [line for line in self.images if line.get("objects") == []]

    @cached_property
    def table(self) -> pl.DataFrame:
        """One row an object and kind of prompt, in a fixed order."""
        rows = [
            {
                "dataset": line["dataset"],
                "image": line["image"],
                "object": number,
                "subject": f"{line['dataset']}/{line['subject']}",
                "structure": entry["structure"],
                "kind": kind,
                "millimeters": line["spacing"] is not None,
                "area": entry["area"],
                "share": entry["area"] / (line["size"][0] * line["size"][1]),
                "misses": entry["misses"],
                **{measure: tried[measure] for measure in METRICS},
                "predicted_iou": tried["predicted_iou"],
                "ious": tried["ious"],
            }
            for line in self.images
            for number, entry in enumerate(line.get("objects", ()))
            for kind, tried in entry["tries"].items()
        ]
        schema: dict[str, Any] = {
            **dict.fromkeys(("dataset", "image", "subject", "structure", "kind"), pl.String),
            **dict.fromkeys((*METRICS, "predicted_iou", "share"), pl.Float64),
            "object": pl.Int64, "area": pl.Int64, "millimeters": pl.Boolean, "misses": pl.Boolean,
            "ious": pl.List(pl.Float64),
        }  # fmt: skip
        return pl.DataFrame(rows, schema=schema).sort("dataset", "image", "object", "kind")

    def of(self, kind: str, dataset: str | None = None) -> pl.DataFrame:
        """Rows of one kind of prompt, of one data set or all."""
        chosen = self.table.filter(pl.col("kind") == kind)
        return chosen if dataset is None else chosen.filter(pl.col("dataset") == dataset)

    def precision(self, kind: str, dataset: str | None = None) -> Precision:
        """COCO mask AP of one kind of prompt."""
        lines = sorted(
            (
                line
                for line in self.images
                if "error" not in line and dataset in (None, line["dataset"])
            ),
            key=lambda line: (line["dataset"], line["image"]),
        )

        def images() -> Iterator[ImageDetections]:
            for line in lines:
                entries = [e for e in line["objects"] if kind in e["tries"]]
                size = line["size"]
                yield ImageDetections(
                    [{"size": size, "counts": e["truth"]} for e in entries],
                    [{"size": size, "counts": e["tries"][kind]["mask"]} for e in entries],
                    [e["tries"][kind]["predicted_iou"] for e in entries],
                )

        return average_precision(images())

    def seconds(self) -> tuple[float, float, float]:
        """Of all images that were segmented: for reading, for the model, and for the evaluation itself."""
        timed = [line["seconds"] for line in self.images if line.get("objects")]
        reading, model, own = (sum(t[k] for t in timed) for k in ("reading", "model", "evaluation"))
        return reading, model, own


def read_results(file: Path, *, name: str | None = None) -> Results:
    """Results that `ultrasam.evaluation.runner.run` wrote.

    Raises:
        EvaluationError: missing, damaged, or no such file.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise EvaluationError(
            f"There are no results in {file}; run ultrasam evaluate first."
        ) from error
    try:
        head, *lines = map(json.loads, text[: text.rfind("\n") + 1].splitlines())
        return Results(name or head["competitor"], head["settings"], tuple(lines))
    except (ValueError, KeyError, TypeError) as error:
        raise EvaluationError(f"{file} is not a file of results; give OUT/NAME.jsonl.") from error


def paired(
    first: Results, second: Results, kind: str, measure: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], list[str]]:
    """Both competitors' values on the objects that both have, and their subjects."""
    keys = ["dataset", "image", "object", "subject"]
    joined = first.of(kind).select(*keys, measure).join(
        second.of(kind).select(*keys, measure), on=keys, suffix="_second"
    ).drop_nulls().sort(keys)  # fmt: skip
    return (
        joined[measure].to_numpy(),
        joined[f"{measure}_second"].to_numpy(),
        joined["subject"].to_list(),
    )


def objects_per_dataset(all_results: Sequence[Results]) -> dict[str, int]:
    """Data sets and how many objects they have, in order."""
    counts: dict[str, int] = defaultdict(int)
    for results in all_results:
        for line in results.images:
            counts[line["dataset"]] += 0
        found = results.table.unique(["dataset", "image", "object"]).group_by("dataset").len()
        for name, count in found.iter_rows():
            counts[name] = max(counts[name], count)
    return dict(sorted(counts.items()))
