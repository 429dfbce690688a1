"""Read results back as tables to compute with."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ultrasam.errors import EvaluationError
from ultrasam.evaluation.metrics.average_precision import (
    AveragePrecision,
    ImageDetections,
    average_precision,
)
from ultrasam.evaluation.metrics.masks import METRICS
from ultrasam.evaluation.report.duplicates import joined_subjects
from ultrasam.evaluation.runner import RecordKey, record_key
from ultrasam.extras import needs

with needs("Evaluation", extra="evaluate"):
    import polars as pl

DISTANCES = ("hd95", "assd")


@dataclass(frozen=True)
class Results:
    """The results of one model.

    Attributes:
        name: label in the report.
        settings: as `ultrasam.evaluation.runner.EvaluationSettings`, with the prompt types that the model
            accepts.
        images: one record per image, and one per annotation that was left out of an image.
        trained_on: ids of the data sets whose images, or others of their source, the model was trained on;
            None if unknown.
        sources: ids of the published data sets from which data sets of other names come.
    """

    name: str
    settings: dict[str, Any]
    images: tuple[dict[str, Any], ...]
    trained_on: frozenset[str] | None = None
    sources: Mapping[str, str] = field(default_factory=dict)

    def of(self, keys: Collection[RecordKey]) -> Results:
        """The results of some images only.

        Annotations that were left out of other images of the same data sets stay: their records do not say of
        which image they are.
        """
        names = {dataset for dataset, _, _ in keys}
        images = tuple(
            record
            for record in self.images
            if record_key(record) in keys
            or (record.get("what") == "annotation" and record["dataset"] in names)
        )
        return replace(self, images=images)

    @property
    def kinds(self) -> list[str]:
        """Names of the prompt types."""
        return list(self.settings["prompts"])

    @property
    def errors(self) -> list[dict[str, Any]]:
        """Records of images that could not be read or segmented."""
        return [record for record in self.images if "error" in record]

    @property
    def without_object(self) -> list[dict[str, Any]]:
        """Records of images without an object of at least 64 pixels."""
        return [record for record in self.images if record.get("objects") == []]

    @property
    def left_out(self) -> list[dict[str, Any]]:
        """Records of images and annotations that the data set's reader left out."""
        return [record for record in self.images if "left_out" in record]

    @cached_property
    def subjects(self) -> dict[tuple[str, str], str]:
        """The subject of each image (data set, name); subjects who share an image are one."""
        return joined_subjects(self.images)

    @cached_property
    def subjects_unknown(self) -> frozenset[str]:
        """Data sets of which nothing says which images are of one person: each image counts as a subject."""
        same_as_image: dict[str, list[bool]] = defaultdict(list)
        for record in self.images:
            if "subject" in record:
                same_as_image[record["dataset"]].append(record["subject"] == record["image"])
        return frozenset(
            name for name, same in same_as_image.items() if len(same) > 1 and all(same)
        )

    @cached_property
    def table(self) -> pl.DataFrame:
        """One row per object, prompt type and repeat, sorted."""
        rows = [
            {
                "dataset": record["dataset"],
                "image": record["image"],
                "object": number,
                "subject": self.subjects[record["dataset"], record["image"]],
                "structure": entry["structure"],
                "kind": kind,
                "repeat": repeat,
                "has_spacing": record["spacing"] is not None,
                "area": entry["area"],
                "relative_area": entry["area"] / (record["size"][0] * record["size"][1]),
                "thickness": entry["thickness"],
                "length": entry["length"],
                "height": record["size"][0],
                "width": record["size"][1],
                "click_outside": entry["click_outside"],
                **{metric: prediction[metric] for metric in METRICS},
                "predicted_iou": prediction["predicted_iou"],
                "ious": prediction["ious"],
                "best_iou": prediction["best_iou"],
            }
            for record in self.images
            for number, entry in enumerate(record.get("objects", ()))
            for kind, predictions in entry["predictions"].items()
            for repeat, prediction in enumerate(predictions)
        ]
        texts = ("dataset", "image", "subject", "structure", "kind")
        numbers = ("predicted_iou", "best_iou", "relative_area", "thickness", "length")
        schema: dict[str, Any] = {
            **dict.fromkeys(texts, pl.String),
            **dict.fromkeys((*METRICS, *numbers), pl.Float64),
            **dict.fromkeys(("object", "repeat", "area", "height", "width"), pl.Int64),
            **dict.fromkeys(("has_spacing", "click_outside"), pl.Boolean),
            "ious": pl.List(pl.Float64),
        }
        return pl.DataFrame(rows, schema=schema).sort(
            "dataset", "image", "object", "kind", "repeat"
        )

    @cached_property
    def absent(self) -> pl.DataFrame:
        """One row per prompt on an image without an object (see `ultrasam.evaluation.absent`), sorted."""
        rows = [
            {
                "dataset": record["dataset"],
                "image": record["image"],
                "subject": self.subjects[record["dataset"], record["image"]],
                "kind": kind,
                "predicted_iou": prediction["predicted_iou"],
                "relative_area": prediction["area"] / (record["size"][0] * record["size"][1]),
            }
            for record in self.images
            for kind, prediction in record.get("absent", {}).items()
        ]
        schema: dict[str, Any] = {
            **dict.fromkeys(("dataset", "image", "subject", "kind"), pl.String),
            **dict.fromkeys(("predicted_iou", "relative_area"), pl.Float64),
        }
        return pl.DataFrame(rows, schema=schema).sort("dataset", "image", "kind")

    @cached_property
    def _by_kind(self) -> dict[tuple[Any, ...], pl.DataFrame]:
        """The table's rows by prompt type; a report asks for them thousands of times."""
        return self.table.partition_by("kind", as_dict=True)

    def rows(self, kind: str, dataset: str | None = None) -> pl.DataFrame:
        """Rows of one prompt type with all its repeats, of one data set or all."""
        selected = self._by_kind.get((kind,), self.table.clear())
        return selected if dataset is None else selected.filter(pl.col("dataset") == dataset)

    def average_precision(self, kind: str, dataset: str | None = None) -> AveragePrecision:
        """COCO mask AP for one prompt type; of its first repeat, if it is random."""
        records = sorted(
            (
                record
                for record in self.images
                if "objects" in record and dataset in (None, record["dataset"])
            ),
            key=lambda record: (record["dataset"], record["image"]),
        )

        def images() -> Iterator[ImageDetections]:
            for record in records:
                entries = [e for e in record["objects"] if kind in e["predictions"]]
                size = record["size"]
                yield ImageDetections(
                    [{"size": size, "counts": e["truth"]} for e in entries],
                    [{"size": size, "counts": e["predictions"][kind][0]["mask"]} for e in entries],
                    [e["predictions"][kind][0]["predicted_iou"] for e in entries],
                )

        return average_precision(images())

    def seconds(self) -> tuple[float, float, float]:
        """Total time for reading, for the model, and for the evaluation, over all segmented images."""
        timed = [record["seconds"] for record in self.images if record.get("objects")]
        reading, model, evaluating = (
            sum(t[k] for t in timed) for k in ("reading", "model", "evaluation")
        )
        return reading, model, evaluating


def read_results(file: Path, *, name: str | None = None) -> Results:
    """Read results that `ultrasam.evaluation.runner.run_evaluation` wrote.

    Raises:
        EvaluationError: The file is missing, damaged, of an earlier version or not a results file.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise EvaluationError(f"No results in {file}. Run 'ultrasam evaluate' first.") from error
    try:
        header, *records = map(json.loads, text[: text.rfind("\n") + 1].splitlines())
        if "competitor" in header or "repeats" not in header["settings"]:
            raise EvaluationError(
                f"{file} was written by an earlier version of UltraSam; run the evaluation again."
            )
        trained_on = header.get("trained_on")
        return Results(
            name or header["model"],
            header["settings"],
            tuple(records),
            None if trained_on is None else frozenset(trained_on),
        )
    except EvaluationError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise EvaluationError(
            f"{file} is not a results file; give a DIR/MODEL.jsonl that 'ultrasam evaluate' wrote."
        ) from error


def paired_values(
    first: Results,
    second: Results,
    kind: str,
    metric: str,
    datasets: Collection[str] | None = None,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], list[str]]:
    """Both models' values on the objects that both segmented, and their subjects.

    Args:
        first, second: the models' results.
        kind: prompt type; an object's repeats count by their mean.
        metric: name of a metric.
        datasets: names of data sets; None for all.
    """
    keys = ["dataset", "image", "object"]

    def values(results: Results) -> pl.DataFrame:
        rows = results.rows(kind).drop_nulls(metric)
        if datasets is not None:
            rows = rows.filter(pl.col("dataset").is_in(list(datasets)))
        return rows.group_by(keys).agg(pl.col(metric).mean(), pl.col("subject").first())

    joined = values(first).join(values(second), on=keys, suffix="_second").sort(keys)
    return (
        joined[metric].to_numpy(),
        joined[f"{metric}_second"].to_numpy(),
        joined["subject"].to_list(),
    )


def objects_per_dataset(all_results: Sequence[Results], kind: str | None = None) -> dict[str, int]:
    """Number of objects per data set, of the model that has most, sorted by name; of a prompt type or all."""
    counts: dict[str, int] = defaultdict(int)
    for results in all_results:
        for record in results.images:
            counts[record["dataset"]] += 0
        table = results.table if kind is None else results.rows(kind)
        objects = table.unique(["dataset", "image", "object"])
        for name, count in objects.group_by("dataset").len().iter_rows():
            counts[name] = max(counts[name], count)
    return dict(sorted(counts.items()))
