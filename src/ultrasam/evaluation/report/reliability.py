"""Does the predicted IoU tell the true one?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ultrasam.evaluation.metrics.calibration import calibration
from ultrasam.evaluation.report.groups import DatasetGroup, Row, main_groups, rows_by_group
from ultrasam.evaluation.report.prompts import all_kinds, primary_prompts
from ultrasam.evaluation.report.results import Results
from ultrasam.evaluation.report.styles import color_of, label_of, marker_of
from ultrasam.extras import needs
from ultrasam.reporting.document import Plot, Section, section
from ultrasam.reporting.plots import dim_line
from ultrasam.reporting.tables import NONE, Table

with needs("Evaluation", extra="evaluate"):
    import polars as pl

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PER_ROW = 5


def calibration_table(all_results: Sequence[Results]) -> Table:
    """Calibration of the predicted IoU: a row per prompt type and group of data sets, a column per model."""

    def rows_of(group: DatasetGroup) -> list[Row]:
        rows = []
        for kind in all_kinds(all_results):
            cells = [_cell(results, kind, group.datasets) for results in all_results]
            if any(cell != NONE for cell in cells):
                rows.append((kind, *cells))
        return rows

    head = ("prompts", *(results.name for results in all_results))
    note = (
        "Expected calibration error (ECE): distance of mean predicted and mean true IoU over ten bins, "
        "weighted by count; in parentheses, mean predicted minus mean true IoU. Baselines without a model "
        "predict 1."
    )
    title = "Calibration error of the predicted IoU"
    return Table(title, head, rows_by_group(all_results, rows_of), note)


def _cell(results: Results, kind: str, datasets: Sequence[str]) -> str:
    rows = results.rows(kind).filter(pl.col("dataset").is_in(list(datasets)))
    if kind not in results.kinds or not len(rows):
        return NONE
    curve = calibration(rows["predicted_iou"].to_numpy(), rows["iou"].to_numpy())
    return f"{curve.error:.3f} ({curve.bias:+.3f})"


def reliability_plot(all_results: Sequence[Results], kind: str, group: DatasetGroup) -> Plot | None:
    """True against predicted IoU in ten bins for one prompt type, an axis per model; None without objects."""
    inside = pl.col("dataset").is_in(group.datasets)
    tables = {
        r.name: rows
        for r in all_results
        if kind in r.kinds and len(rows := r.rows(kind).filter(inside))
    }
    if not tables:
        return None
    lines = -(-len(tables) // _PER_ROW)
    return Plot(
        f"Reliability of predicted IoU, {kind} ({group.title})",
        partial(_draw, all_results, tables),
        size=(0.5 + 2.3 * min(len(tables), _PER_ROW), 0.4 + 2.3 * lines),
        note="True against predicted IoU in ten bins; on the dashed line they agree. A marker's area is the "
        "share of objects.",
    )


def _draw(
    all_results: Sequence[Results], tables: Mapping[str, pl.DataFrame], figure: Figure
) -> None:
    columns = min(len(tables), _PER_ROW)
    lines = -(-len(tables) // columns)
    every = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes in every[len(tables) :]:
        axes.set_axis_off()
    models = [results for results in all_results if results.name in tables]
    for axes, results in zip(every, models, strict=False):
        rows = tables[results.name]
        curve = calibration(rows["predicted_iou"].to_numpy(), rows["iou"].to_numpy())
        color = color_of(all_results, results)
        dim_line(axes, slope=1)
        axes.plot(curve.predicted, curve.true, color=color)
        area = 160 * curve.counts / curve.counts.sum()
        axes.scatter(
            curve.predicted, curve.true, s=np.maximum(area, 4), color=color,
            marker=marker_of(all_results, results), clip_on=False, zorder=3,
        )  # fmt: skip
        axes.set_title(label_of(results))
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_aspect("equal")
    figure.supxlabel("predicted IoU", fontsize=9)
    figure.supylabel("true IoU", fontsize=9)


def reliability_section(all_results: Sequence[Results]) -> Section | None:
    """The table, and a plot per prompt type of the first screen."""
    kinds = [prompt.kind for prompt in primary_prompts(all_kinds(all_results))]
    groups = main_groups(all_results)
    plots = [
        section(kind, *(reliability_plot(all_results, kind, group) for group in groups))
        for kind in kinds
    ]
    return section(
        "Calibration", calibration_table(all_results), sections=plots,
        says="does the predicted IoU tell the true one, by prompt type",
    )  # fmt: skip
