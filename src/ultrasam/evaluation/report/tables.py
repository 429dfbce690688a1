"""The report's tables."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ultrasam.evaluation.metrics.calibration import calibration
from ultrasam.evaluation.metrics.clicks import clicks_to_reach
from ultrasam.evaluation.metrics.statistics import (
    PairedDifference,
    bootstrap_means,
    holm,
    interval,
    paired_difference,
)
from ultrasam.evaluation.prompt_types import PromptKind
from ultrasam.evaluation.published import PUBLISHED
from ultrasam.evaluation.report.results import (
    DISTANCES,
    Results,
    objects_per_dataset,
    paired_values,
)
from ultrasam.extras import needs
from ultrasam.images.masks import MIN_OBJECT_PIXELS
from ultrasam.reporting.tables import NONE, Table, number, with_interval

with needs("Evaluation", extra="evaluate"):
    import polars as pl

THRESHOLDS = (0.85, 0.90)
TITLES = {
    "dice": "Dice",
    "iou": "IoU",
    "boundary_iou": "boundary IoU",
    "boundary_f": "boundary F (2 px)",
    "surface_dice": "surface Dice",
    "hd95": "HD95",
    "assd": "ASSD",
}
_OVERLAPS = tuple(metric for metric in TITLES if metric not in DISTANCES)
_MACRO, _MICRO = "**mean over data sets**", "**mean over objects**"


def dataset_table(all_results: Sequence[Results], kind: str, metric: str) -> Table:
    """Mean of one metric with its 95 % interval: a row per data set, a column per model."""
    evaluated = [r for r in all_results if kind in r.kinds]
    counts = objects_per_dataset(evaluated)
    columns = [_dataset_column(results, kind, metric, counts) for results in evaluated]
    total = str(sum(counts.values()))
    heads = [(d, str(n)) for d, n in counts.items()] + [(_MACRO, total), (_MICRO, total)]
    rows = [(*head, *cells) for head, cells in zip(heads, zip(*columns, strict=True), strict=True)]
    if len(counts) == 1:
        rows = rows[:1]  # both means are the data set's
    note = "In parentheses: the number of objects, if a model has fewer."
    partial = any("(" in cell for column in columns for cell in column)
    head = ("data set", "objects", *(r.name for r in evaluated))
    return Table(f"{TITLES[metric]}, {kind}", head, tuple(rows), note if partial else "")


def _dataset_column(results: Results, kind: str, metric: str, counts: dict[str, int]) -> list[str]:
    cells, resamples, means = [], [], []
    for dataset, count in counts.items():
        values, subjects = _values(results.rows(kind, dataset), metric)
        if not len(values):
            cells.append(NONE)
            continue
        # Each data set draws its own resamples; with one seed for all, those of equal size would draw the
        # same ranks, and the interval of the mean over data sets would be off.
        resamples.append(bootstrap_means(values, subjects, seed=zlib.crc32(dataset.encode())))
        means.append(float(values.mean()))
        cells.append(_mean_cell(means[-1], resamples[-1], metric) + _fewer(len(values), count))
    if not means:
        return [*cells, NONE, NONE]
    values, subjects = _values(results.rows(kind), metric)
    macro = _mean_cell(float(np.mean(means)), np.mean(resamples, axis=0), metric)
    micro = _mean_cell(float(values.mean()), bootstrap_means(values, subjects), metric)
    fewer = _fewer(len(values), sum(counts.values()))
    return [*cells, macro + fewer, micro + fewer]


def _fewer(count: int, total: int) -> str:
    return "" if count == total else f" ({count})"


def _values(rows: pl.DataFrame, metric: str) -> tuple[npt.NDArray[np.float64], list[str]]:
    defined = rows.drop_nulls(metric)
    return defined[metric].to_numpy(), defined["subject"].to_list()


def _mean_cell(mean: float, resamples: npt.NDArray[np.float64], metric: str) -> str:
    return with_interval(mean, *interval(resamples), digits=2 if metric in DISTANCES else 3)


def metric_table(all_results: Sequence[Results], kind: str) -> Table:
    """All metrics for one prompt type, averaged over data sets: a row per model."""
    rows = []
    for results in all_results:
        if kind not in results.kinds:
            continue
        table = results.rows(kind)
        cells = [results.name]
        for metric in _OVERLAPS:
            cells.append(number(mean_over_datasets(table, metric)))
        for has_spacing in (True, False):
            selected = table.filter(pl.col("has_spacing") == has_spacing)
            for metric in DISTANCES:
                cells.append(number(mean_over_datasets(selected, metric), digits=2))
        cells.append(str(table["hd95"].null_count()))
        dataset_table = [
            results.average_precision(kind, d) for d in sorted(table["dataset"].unique())
        ]
        for part in ("ap", "ap50", "ap75"):
            cells.append(number(float(np.mean([getattr(p, part) for p in dataset_table]))))
        rows.append(tuple(cells))
    distances = [f"{TITLES[m]} ({unit})" for unit in ("mm", "px") for m in DISTANCES]
    head = ("model", *(TITLES[m] for m in _OVERLAPS), *distances, "undefined distances",
            "mAP", "AP50", "AP75")  # fmt: skip
    note = (
        "Means over the data sets' means. Distances are in mm for data sets with a known pixel spacing, in "
        "pixels for the others. An empty prediction has no distance; it counts as 0 in all other columns."
    )
    return Table(f"All metrics, {kind}", head, tuple(rows), note).without_empty_columns()


def mean_over_datasets(table: pl.DataFrame, metric: str) -> float:
    """Mean of the means of the data sets; NaN if none has a value."""
    means = table.group_by("dataset").agg(pl.col(metric).mean())[metric].drop_nulls()
    return float(means.to_numpy().mean()) if len(means) else float("nan")


def structure_table(all_results: Sequence[Results], kind: str) -> Table | None:
    """Mean Dice per structure of each data set; None if each has one, as its means are the data set's."""
    evaluated = [r for r in all_results if kind in r.kinds]
    cells: dict[tuple[str, str], dict[str, tuple[int, float]]] = {}
    for results in evaluated:
        groups = results.rows(kind).group_by("dataset", "structure")
        for dataset, structure, count, mean in groups.agg(
            pl.len().alias("n"), pl.col("dice").mean()
        ).iter_rows():
            cells.setdefault((dataset, structure), {})[results.name] = (count, mean)
    if len({dataset for dataset, _ in cells}) == len(cells):
        return None
    rows = []
    for (dataset, structure), by_model in sorted(cells.items()):
        count = max(n for n, _ in by_model.values())
        values = [f"{by_model[r.name][1]:.3f}" if r.name in by_model else NONE for r in evaluated]
        rows.append((dataset, structure, str(count), *values))
    head = ("data set", "structure", "objects", *(r.name for r in evaluated))
    return Table(f"Dice per structure, {kind}", head, tuple(rows))


def click_table(all_results: Sequence[Results]) -> Table | None:
    """Number of clicks (NoC) for prompt types with several clicks; None if there are none."""
    rows = []
    for results in all_results:
        for kind in results.kinds:
            ious = results.rows(kind)["ious"].to_list()
            max_clicks = PromptKind.parse(kind).rounds
            if max_clicks < 2 or not ious:
                continue
            cells = [results.name, kind, str(len(ious))]
            for threshold in THRESHOLDS:
                noc = clicks_to_reach(ious, threshold, max_clicks)
                cells += [f"{noc.mean:.2f}", f"{noc.failures} ({noc.failures / len(ious):.0%})"]
            rows.append(tuple(cells))
    if not rows:
        return None
    head = ["model", "prompts", "objects"]
    for threshold in THRESHOLDS:
        head += [f"NoC@{threshold:.2f}", f"failures@{threshold:.2f}"]
    note = (
        "Mean number of clicks (NoC) to reach an IoU. An object that never reaches it is a failure and "
        "counts with the maximum number of clicks."
    )
    return Table("Number of clicks", tuple(head), tuple(rows), note)


def calibration_table(all_results: Sequence[Results]) -> Table:
    """Calibration of the predicted IoU."""
    rows = []
    for results in all_results:
        for kind in results.kinds:
            table = results.rows(kind)
            if len(table):
                found = calibration(table["predicted_iou"].to_numpy(), table["iou"].to_numpy())
                rows.append((results.name, kind, f"{found.error:.3f}", f"{found.bias:+.3f}"))
    head = ("model", "prompts", "expected calibration error", "predicted minus true IoU")
    return Table("Predicted IoU", head, tuple(rows), "Baselines always predict an IoU of 1.")


def difference_table(all_results: Sequence[Results], metric: str = "dice") -> Table | None:
    """The first model minus each other one on the same objects; None if there is nothing to compare."""
    first, *others = all_results
    differences = []
    for other in others:
        for kind in first.kinds:
            if kind in other.kinds:
                a, b, subjects = paired_values(first, other, kind, metric)
                if len(a):
                    result = paired_difference(a, b, subjects)
                    differences.append((other.name, kind, len(a), result))
    if not differences:
        return None
    adjusted = holm([difference.p for *_, difference in differences])
    rows = [
        (
            f"{first.name} – {name}", kind, str(count), str(d.subjects), f"{d.mean:+.3f}",
            *_certainty(d, p),
        )
        for (name, kind, count, d), p in zip(differences, adjusted, strict=True)
    ]  # fmt: skip
    head = ("models", "prompts", "objects", "subjects", f"mean difference in {TITLES[metric]}",
            "95 % interval", "p")  # fmt: skip
    note = (
        "Paired by object. Intervals: bootstrap over subjects. p: two-sided Wilcoxon signed-rank test on "
        "per-subject means, adjusted for all comparisons in this table (Holm)."
    )
    return Table(f"Differences in {TITLES[metric]}", head, tuple(rows), note)


def _certainty(d: PairedDifference, p: float) -> tuple[str, str]:
    """Interval and p value of a difference; dashes if one subject leaves both unknown."""
    if np.isnan(d.low):
        return NONE, NONE
    return f"[{d.low:+.3f}, {d.high:+.3f}]", f"{p:.1e}" if p < 0.001 else f"{p:.3f}"


def cost_table(all_results: Sequence[Results]) -> Table:
    """Run time of the models and of the evaluation around them."""
    rows = []
    for results in all_results:
        reading, model, own = results.seconds()
        images = sum(bool(record.get("objects")) for record in results.images)
        if images and model:
            each = [f"{1000 * t / images:.0f} ms" for t in (reading, model, own)]
            rows.append((results.name, str(images), *each, f"{own / model:.0%}"))
    head = ("model", "images", "reading", "inference", "evaluation", "evaluation / inference")
    note = (
        "Mean time per image: reading the image and its masks, running the model, and simulating prompts and "
        "computing metrics."
    )
    return Table("Run time", head, tuple(rows), note)


def excluded_table(all_results: Sequence[Results]) -> Table | None:
    """Images that no mean includes: unreadable, failed, or without an object; None if there are none."""
    rows = []
    for results in all_results:
        for record in results.errors:
            rows.append((results.name, record["dataset"], record["image"], record["error"]))
    empty = {
        (record["dataset"], record["image"]) for r in all_results for record in r.without_object
    }
    reason = f"no object of at least {MIN_OBJECT_PIXELS} pixels"
    rows += [("all", dataset, name, reason) for dataset, name in sorted(empty)]
    if not rows:
        return None
    return Table("Excluded images", ("model", "data set", "image", "reason"), tuple(rows))


def published_table(datasets: Sequence[str]) -> Table | None:
    """Verified results of other authors on the given data sets; None if there are none."""
    rows = tuple(
        (p.model, p.dataset, p.prompt, p.metric, f"{p.value:g}", p.source)
        for p in PUBLISHED
        if p.value is not None and p.dataset in datasets
    )
    if not rows:
        return None
    head = ("model", "data set", "prompt", "metric", "value", "source")
    note = "Measured on other images, splits and prompts than above."
    return Table("Published results", head, rows, note)
