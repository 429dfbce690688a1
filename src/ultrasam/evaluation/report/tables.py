"""The tables of one prompt type, and the differences between models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ultrasam.evaluation.metrics.masks import METRICS
from ultrasam.evaluation.metrics.statistics import PairedDifference, holm, paired_difference
from ultrasam.evaluation.prompt_types import PromptKind
from ultrasam.evaluation.report.groups import DatasetGroup, Row, dataset_groups, rows_by_group
from ultrasam.evaluation.report.means import by_dataset, estimate, mean_of, text_of
from ultrasam.evaluation.report.results import (
    DISTANCES,
    Results,
    objects_per_dataset,
    paired_values,
)
from ultrasam.extras import needs
from ultrasam.reporting.tables import NONE, Table, number

with needs("Evaluation", extra="evaluate"):
    import polars as pl

TITLES = {
    "dice": "Dice",
    "iou": "IoU",
    "boundary_iou": "boundary IoU",
    "boundary_f": "boundary F (2 px)",
    "surface_dice": "surface Dice",
    "hd95": "HD95",
    "assd": "ASSD",
}
_OVERLAPS = tuple(
    metric for metric in TITLES
    if metric in METRICS and metric not in (*DISTANCES, "surface_dice")
)  # fmt: skip
# What depends on the pixel spacing, and how many digits it has: means never mix mm and pixels.
_BY_UNIT = {"surface_dice": 3, **dict.fromkeys(DISTANCES, 2)}


def dataset_table(all_results: Sequence[Results], kind: str, metric: str) -> Table:
    """Mean of one metric with its 95 % interval: a row per data set, a column per model.

    Below the data sets of each group (see `ultrasam.evaluation.report.groups`) stand the means over them.
    """
    evaluated = [r for r in all_results if kind in r.kinds]
    counts = objects_per_dataset(evaluated)
    digits = 2 if metric in DISTANCES else 3

    def rows_of(group: DatasetGroup) -> list[Row]:
        names = tuple(name for name in group.datasets if counts.get(name))
        if not names:
            return []
        columns = [_group_column(r, kind, metric, names, counts, digits) for r in evaluated]
        total = str(sum(counts[name] for name in names))
        titles = [*names, "**mean over data sets**", "**mean over objects**"]
        rows = [
            (title, str(counts.get(title, total)), *cells)
            for title, cells in zip(titles, zip(*columns, strict=True), strict=True)
        ]
        return rows if len(names) > 1 else rows[:1]  # both means are the data set's

    rows = rows_by_group(all_results, rows_of)
    note = ""
    if any("(" in cell for row in rows for cell in row[2:]):
        note = "In parentheses: the number of objects, if a model has fewer."
    head = ("data set", "objects", *(r.name for r in evaluated))
    return Table(f"{TITLES[metric]}, {kind}", head, rows, note)


def _group_column(
    results: Results,
    kind: str,
    metric: str,
    datasets: Sequence[str],
    counts: dict[str, int],
    digits: int,
) -> list[str]:
    """A cell for each data set, for the mean over them, and for the mean over all their objects."""
    cells = []
    means = by_dataset(results.rows(kind), metric, datasets)
    for dataset in datasets:
        value = means.get(dataset)
        cells.append(
            NONE if value is None else value.text(digits) + _fewer(value.count, counts[dataset])
        )
    found = list(means.values())
    if not found:
        return [*cells, NONE, NONE]
    fewer = _fewer(sum(e.count for e in found), sum(counts[name] for name in datasets))
    pooled = estimate(results.rows(kind).filter(pl.col("dataset").is_in(list(datasets))), metric)
    return [*cells, mean_of(found).text(digits) + fewer, text_of(pooled, digits) + fewer]


def _fewer(count: int, total: int) -> str:
    return "" if count == total else f" ({count})"


def metric_table(all_results: Sequence[Results], kind: str) -> Table:
    """All metrics for one prompt type, averaged over data sets: a row per model and group of data sets."""

    def rows_of(group: DatasetGroup) -> list[Row]:
        rows = []
        for results in all_results:
            table = results.rows(kind).filter(pl.col("dataset").is_in(group.datasets))
            if kind not in results.kinds or not len(table):
                continue
            cells = [results.name]
            for metric in _OVERLAPS:
                cells.append(number(mean_over_datasets(table, metric)))
            for has_spacing in (True, False):
                selected = table.filter(pl.col("has_spacing") == has_spacing)
                for metric, digits in _BY_UNIT.items():
                    cells.append(number(mean_over_datasets(selected, metric), digits=digits))
            cells.append(str(table["hd95"].null_count()))
            names = sorted(table["dataset"].unique())
            precisions = [results.average_precision(kind, name) for name in names]
            for part in ("ap", "ap50", "ap75"):
                cells.append(number(float(np.mean([getattr(p, part) for p in precisions]))))
            rows.append(tuple(cells))
        return rows

    settings = all_results[0].settings
    by_unit = []
    for unit in ("mm", "px"):
        tolerance = f"{settings[f'tolerance_{unit}']:g} {unit}"
        by_unit += [
            f"{TITLES['surface_dice']} ({tolerance})",
            *(f"{TITLES[m]} ({unit})" for m in DISTANCES),
        ]
    head = (
        "model", *(TITLES[m] for m in _OVERLAPS), *by_unit, "undefined distances", "mAP", "AP50", "AP75",
    )  # fmt: skip
    first = "; AP is of the first of the repeats" if PromptKind.parse(kind).is_random else ""
    note = (
        "Means over the data sets' means. Distances are in mm for data sets with a known pixel spacing, in "
        "pixels for the others. An empty prediction has no distance; it counts as 0 in all other columns"
        f"{first}."
    )
    rows = rows_by_group(all_results, rows_of)
    return Table(f"All metrics, {kind}", head, rows, note).without_empty_columns()


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
            pl.struct("image", "object").n_unique().alias("n"), pl.col("dice").mean()
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


def difference_table(all_results: Sequence[Results], metric: str = "dice") -> Table | None:
    """The first model minus each other one on the same objects; None if there is nothing to compare."""
    first, *others = all_results
    groups = dataset_groups(all_results)
    differences = []
    for group in groups:
        for other in others:
            for kind in (k for k in first.kinds if k in other.kinds):
                a, b, subjects = paired_values(first, other, kind, metric, group.datasets)
                if len(a):
                    found = paired_difference(a, b, subjects)
                    differences.append((other.name, group.label, kind, len(a), found))
    if not differences:
        return None
    adjusted = holm([difference.p for *_, difference in differences])
    rows = [
        (
            f"{first.name} – {name}", *([label] if len(groups) > 1 else []), kind, str(count),
            str(d.subjects), f"{d.mean:+.3f}", *_certainty(d, p),
        )
        for (name, label, kind, count, d), p in zip(differences, adjusted, strict=True)
    ]  # fmt: skip
    head = ("models", *(["data sets"] if len(groups) > 1 else []), "prompts", "objects", "subjects",
            f"mean difference in {TITLES[metric]}", "95 % interval", "p")  # fmt: skip
    note = (
        "Paired by object; repeats of a random prompt count by their mean. Intervals: bootstrap over "
        "subjects. p: two-sided Wilcoxon signed-rank test on per-subject means, adjusted for all comparisons "
        "in this table (Holm)."
    )
    return Table(
        f"Differences in {TITLES[metric]}", head, tuple(rows), note
    ).without_empty_columns()


def _certainty(d: PairedDifference, p: float) -> tuple[str, str]:
    """Interval and p value of a difference; dashes if one subject leaves both unknown."""
    if np.isnan(d.low):
        return NONE, NONE
    return f"[{d.low:+.3f}, {d.high:+.3f}]", f"{p:.1e}" if p < 0.001 else f"{p:.3f}"
