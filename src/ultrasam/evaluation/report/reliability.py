"""Does the predicted IoU tell the true one?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ultrasam.evaluation.metrics.calibration import calibration
from ultrasam.evaluation.report.prompts import all_kinds, primary_prompts
from ultrasam.evaluation.report.results import Results
from ultrasam.evaluation.report.styles import color_of, label_of, marker_of
from ultrasam.reporting.document import Plot, Section, section
from ultrasam.reporting.plots import dim_line
from ultrasam.reporting.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PER_ROW = 5


def calibration_table(all_results: Sequence[Results]) -> Table:
    """Calibration of the predicted IoU: a row per model and prompt type."""
    rows = []
    for results in all_results:
        for kind in results.kinds:
            table = results.rows(kind)
            if len(table):
                found = calibration(table["predicted_iou"].to_numpy(), table["iou"].to_numpy())
                rows.append((results.name, kind, f"{found.error:.3f}", f"{found.bias:+.3f}"))
    head = ("model", "prompts", "expected calibration error", "predicted minus true IoU")
    note = (
        "Expected calibration error: distance of mean predicted and mean true IoU over ten bins, weighted by "
        "count. Baselines without a model predict an IoU of 1."
    )
    return Table("Predicted IoU", head, tuple(rows), note)


def reliability_plot(all_results: Sequence[Results], kind: str) -> Plot | None:
    """True against predicted IoU in ten bins for one prompt type, an axis per model; None without objects."""
    shown = [r for r in all_results if kind in r.kinds and len(r.rows(kind))]
    if not shown:
        return None
    lines = -(-len(shown) // _PER_ROW)
    return Plot(
        f"Reliability of predicted IoU, {kind}",
        partial(_draw, all_results, shown, kind),
        size=(0.5 + 2.3 * min(len(shown), _PER_ROW), 0.4 + 2.3 * lines),
        note="True against predicted IoU in ten bins; on the dashed line they agree. A marker's area is the "
        "share of objects.",
    )


def _draw(
    all_results: Sequence[Results], shown: Sequence[Results], kind: str, figure: Figure
) -> None:
    columns = min(len(shown), _PER_ROW)
    lines = -(-len(shown) // columns)
    every = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes in every[len(shown) :]:
        axes.set_axis_off()
    for axes, results in zip(every, shown, strict=False):
        rows = results.rows(kind)
        found = calibration(rows["predicted_iou"].to_numpy(), rows["iou"].to_numpy())
        color = color_of(all_results, results)
        dim_line(axes, slope=1)
        axes.plot(found.predicted, found.true, color=color)
        area = 160 * found.counts / found.counts.sum()
        axes.scatter(
            found.predicted, found.true, s=np.maximum(area, 4), color=color,
            marker=marker_of(all_results, results), zorder=3,
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
    plots = [section(kind, reliability_plot(all_results, kind)) for kind in kinds]
    return section(
        "Calibration", calibration_table(all_results), sections=plots,
        says="does the predicted IoU tell the true one, by prompt type",
    )  # fmt: skip
