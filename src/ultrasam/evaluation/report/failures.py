"""Catastrophic failures: how many objects a model misses, which a mean hides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ultrasam.evaluation.metrics.failures import FAILURE_THRESHOLDS, FailureRate, failure_rates
from ultrasam.evaluation.report.groups import DatasetGroup, Row, rows_by_group
from ultrasam.evaluation.report.prompts import all_kinds
from ultrasam.evaluation.report.results import Results, objects_per_dataset
from ultrasam.extras import needs
from ultrasam.reporting.document import Section, section
from ultrasam.reporting.tables import NONE, Table, percent

with needs("Evaluation", extra="evaluate"):
    import polars as pl

MISSED, POOR = FAILURE_THRESHOLDS


def share_below(
    results: Results, kind: str, datasets: Sequence[str], threshold: float
) -> FailureRate | None:
    """Share of objects (and repeats) with an IoU below a threshold; None without any."""
    rows = results.rows(kind).filter(pl.col("dataset").is_in(list(datasets)))
    if not len(rows):
        return None
    (rate,) = failure_rates(rows["iou"].to_numpy(), rows["subject"].to_list(), [threshold])
    return rate


def failure_table(all_results: Sequence[Results], threshold: float) -> Table:
    """Share of objects below an IoU: a row per prompt type and group of data sets, a column per model."""

    def rows_of(group: DatasetGroup) -> list[Row]:
        return [
            (kind, *cells)
            for kind in all_kinds(all_results)
            if (cells := _cells(all_results, kind, group.datasets, threshold))
        ]

    head = ("prompts", *(r.name for r in all_results))
    title = f"Objects below IoU {threshold:.2f}"
    return Table(title, head, rows_by_group(all_results, rows_of)).without_empty_columns()


def failures_by_dataset(all_results: Sequence[Results], kind: str) -> Table | None:
    """Share of objects below both thresholds for one prompt type: two rows per data set, a column per
    model; None if there are no objects."""
    evaluated = [r for r in all_results if kind in r.kinds]
    counts = objects_per_dataset(evaluated)
    rows = []
    for name, count in counts.items():
        for threshold in FAILURE_THRESHOLDS:
            cells = _cells(evaluated, kind, [name], threshold)
            if cells:
                rows.append((name, str(count), f"< {threshold:.2f}", *cells))
    if not rows:
        return None
    return Table(kind, ("data set", "objects", "IoU", *(r.name for r in evaluated)), tuple(rows))


def _cells(
    all_results: Sequence[Results], kind: str, datasets: Sequence[str], threshold: float
) -> list[str]:
    shares = [
        share_below(r, kind, datasets, threshold) if kind in r.kinds else None for r in all_results
    ]
    if all(share is None for share in shares):
        return []
    return [NONE if rate is None else _cell(rate) for rate in shares]


def _cell(rate: FailureRate) -> str:
    share = rate.share
    if np.isnan(share.low):
        return percent(share.value)
    return f"{percent(share.value)} [{100 * share.low:.1f}, {100 * share.high:.1f}]"


def failure_section(all_results: Sequence[Results]) -> Section | None:
    """Shares by prompt type, and by data set below if there are several."""
    several = len(objects_per_dataset(all_results)) > 1
    by_dataset = [
        section(kind, table)
        for kind in all_kinds(all_results)
        if several and (table := failures_by_dataset(all_results, kind)) is not None
    ]
    text = (
        f"The share of objects whose mask overlaps the truth with an IoU below {MISSED:.2f} (missed) or "
        f"{POOR:.2f} (poor). A random prompt counts once per repeat. Brackets: 95 % intervals by subject. "
        "Where none or all are below, they are exact (Clopper and Pearson): if none of 8 subjects fails, up "
        "to 37 % may.\n"
    )
    return section(
        "Failures", text, *(failure_table(all_results, t) for t in FAILURE_THRESHOLDS), sections=by_dataset,
        says="objects below IoU 0.10 and 0.50, by prompt type",
    )  # fmt: skip
