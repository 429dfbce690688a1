"""Nothing there: does the predicted IoU tell prompts that have an object from prompts that have none?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ultrasam.evaluation.metrics.detection import (
    COVERAGE,
    AbstentionCurve,
    RocCurve,
    abstention_curve,
    roc_curve,
)
from ultrasam.evaluation.report.means import seed_of
from ultrasam.evaluation.report.results import Results
from ultrasam.evaluation.report.styles import color_of, label_of
from ultrasam.extras import needs
from ultrasam.reporting.document import Plot, Section, section
from ultrasam.reporting.plots import dim_line, label_ends
from ultrasam.reporting.tables import NONE, Table, number, percent, with_interval

with needs("Evaluation", extra="evaluate"):
    import polars as pl

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Absence:
    """What a model makes of prompts with and without an object, of one data set and prompt type."""

    results: Results
    dataset: str
    kind: str
    roc: RocCurve
    abstention: AbstentionCurve


def absences(all_results: Sequence[Results]) -> list[Absence]:
    """All data sets and prompt types that have prompts with and without an object."""
    out = []
    for results in all_results:
        for dataset, kind in sorted(results.absent.select("dataset", "kind").unique().iter_rows()):
            absent = results.absent.filter(
                (pl.col("dataset") == dataset) & (pl.col("kind") == kind)
            )
            present = results.rows(kind, dataset)
            # A mask without a pixel says "nothing" by itself.
            scores = np.where(
                present["iou"].is_null() | (_is_empty(present)), -np.inf, present["predicted_iou"]
            )
            empty = np.where(absent["relative_area"] == 0, -np.inf, absent["predicted_iou"])
            roc = roc_curve(
                scores, empty, present["subject"].to_list(), absent["subject"].to_list(),
                seed=seed_of(dataset),
            )  # fmt: skip
            abstention = abstention_curve(scores, present["dice"].to_numpy(), empty)
            if roc is not None and abstention is not None:
                out.append(Absence(results, dataset, kind, roc, abstention))
    order = {results.name: number for number, results in enumerate(all_results)}
    return sorted(out, key=lambda a: (a.dataset, a.kind, order[a.results.name]))


def _is_empty(rows: pl.DataFrame) -> pl.Series:
    """Whether each mask is empty: only then is its distance to an object undefined."""
    return rows["hd95"].is_null()


def absence_table(curves: Sequence[Absence]) -> Table | None:
    """Area under the ROC curve and what abstaining gives: a row per data set, prompt type and model."""
    rows = []
    for each in curves:
        roc, point = each.roc, each.abstention.at_coverage(COVERAGE)
        everything = float(each.abstention.dice_all[-1])
        rows.append(
            (
                each.dataset, each.kind, each.results.name, f"{roc.present} / {roc.absent}",
                with_interval(roc.area.value, roc.area.low, roc.area.high),
                NONE if np.isinf(point.threshold) else number(point.threshold, 2),
                percent(point.coverage, 0), percent(point.rejected, 0), number(point.dice_answered),
                number(point.dice_all), number(everything),
            )
        )  # fmt: skip
    if not rows:
        return None
    head = (
        "data set", "prompts", "model", "prompts with / without an object", "AUC",
        f"threshold for {COVERAGE:.0%} coverage", "objects answered", "empty prompts rejected",
        "Dice of the answered", "Dice of all prompts", "without abstaining",
    )  # fmt: skip
    note = (
        "AUC: the probability that a prompt with an object gets a higher predicted IoU than a prompt where "
        "there is nothing (0.5: no idea). Abstaining: masks below a predicted IoU are withheld, at the "
        f"highest threshold that still answers {COVERAGE:.0%} of the objects. In the Dice of all prompts, an "
        "answer where there is nothing counts 0, silence there 1, silence on an object 0."
    )
    return Table("Nothing there", head, tuple(rows), note).without_empty_columns()


def absence_plots(
    all_results: Sequence[Results], curves: Sequence[Absence], dataset: str, kind: str
) -> list[Plot]:
    """ROC and abstention curves of one data set and prompt type."""
    panel = [each for each in curves if (each.dataset, each.kind) == (dataset, kind)]
    if not panel:
        return []
    return [
        Plot(
            f"Nothing there: ROC and abstention, {dataset}, {kind}",
            partial(_draw, all_results, panel),
            size=(10.8, 3.6),
            note="Left: prompts with an object that are answered against prompts without one that are. "
            "Right: Dice over all prompts against the share of objects that are answered; the dashed line is "
            f"the {COVERAGE:.0%} rule.",
        )
    ]


def _draw(all_results: Sequence[Results], panel: Sequence[Absence], figure: Figure) -> None:
    left, right = figure.subplots(1, 2)
    dim_line(left, slope=1)
    ends = []
    for each in panel:
        color = color_of(all_results, each.results)
        left.plot(each.roc.false_positives, each.roc.true_positives, color=color)
        right.plot(each.abstention.coverage, each.abstention.dice_all, color=color)
        # Named where the curve crosses the diagonal of the plot, which tells good curves apart.
        last = (float(each.abstention.coverage[-1]), float(each.abstention.dice_all[-1]))
        ends.append((*last, f"{label_of(each.results)}, AUC {each.roc.area.value:.2f}", color))
    left.set_xlabel("empty prompts answered")
    left.set_ylabel("objects answered")
    right.set_xlabel("coverage: objects answered")
    right.set_ylabel("Dice over all prompts")
    dim_line(right, x=COVERAGE)
    for axes in (left, right):
        axes.set_xlim(0, 1.01)
        axes.set_ylim(0, 1.01)
    left.set_aspect("equal")
    label_ends(right, ends)


def absence_section(all_results: Sequence[Results]) -> Section | None:
    """Table and plots; None if no data set has an image without an object."""
    curves = absences(all_results)
    places = list(dict.fromkeys((each.dataset, each.kind) for each in curves))
    plots = [plot for place in places for plot in absence_plots(all_results, curves, *place)]
    text = (
        "Images without an object get the box of an object of another image of their data set, or a click at "
        "its center.\n"
    )
    return section(
        "Nothing there", text, absence_table(curves), *plots,
        says="does the predicted IoU tell that no object fits the prompt",
    )  # fmt: skip
