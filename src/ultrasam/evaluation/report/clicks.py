"""What clicks bring: curves, number of clicks, where a click makes masks worse, and clicks beside a box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ultrasam.evaluation.metrics.clicks import (
    FALL,
    NOC_THRESHOLDS,
    ClickCurve,
    NumberOfClicks,
    click_curve,
    clicks_to_reach,
)
from ultrasam.evaluation.metrics.statistics import bootstrap_interval
from ultrasam.evaluation.prompt_types import PromptKind
from ultrasam.evaluation.report.groups import DatasetGroup, Row, dataset_groups, rows_by_group
from ultrasam.evaluation.report.means import paired
from ultrasam.evaluation.report.prompts import all_kinds, with_clicks
from ultrasam.evaluation.report.results import Results
from ultrasam.evaluation.report.styles import color_of, label_of, marker_of
from ultrasam.extras import needs
from ultrasam.reporting.document import Plot, Section, section
from ultrasam.reporting.plots import label_ends
from ultrasam.reporting.tables import Table, number, percent

with needs("Evaluation", extra="evaluate"):
    import polars as pl

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = (0, 1, 2, 3, 5, 7, 9, 12, 15, 20)
_LOGARITHMIC = 10  # from this many clicks on, the axis of clicks is logarithmic


@dataclass(frozen=True, slots=True)
class Clicked:
    """The clicks of one model and prompt type on a group of data sets.

    Attributes:
        ious: of each object and repeat, after the first prompt and each corrective click.
        subjects: of these objects.
        first: clicks in the first prompt: 0 for a box.
        last: maximum number of clicks.
    """

    ious: list[list[float]]
    subjects: list[str]
    first: int
    last: int

    def curve(self) -> ClickCurve:
        """The click curve."""
        return click_curve(self.ious, self.last, first=self.first)

    def reach(self, threshold: float) -> NumberOfClicks:
        """Number of clicks to reach an IoU."""
        return clicks_to_reach(self.ious, threshold, self.last, first=self.first)

    def bounds(self) -> list[tuple[float, float]]:
        """The 95 % interval by subject at each point of the curve."""
        length = self.last - self.first + 1
        filled = np.array([[*v, *[v[-1]] * (length - len(v))] for v in self.ious])
        return [bootstrap_interval(filled[:, k], self.subjects) for k in range(length)]


def clicked(results: Results, kind: str, datasets: Sequence[str]) -> Clicked | None:
    """The clicks of a model; None if it has no object there or the prompt type no corrective clicks."""
    parsed = PromptKind.parse(kind)
    if kind not in results.kinds or parsed.rounds < 2:
        return None
    rows = results.rows(kind).filter(pl.col("dataset").is_in(list(datasets)))
    if not len(rows):
        return None
    numbers = _numbers(kind)
    return Clicked(rows["ious"].to_list(), rows["subject"].to_list(), numbers[0], numbers[-1])


def click_table(all_results: Sequence[Results]) -> Table | None:
    """Number of clicks (NoC) for prompt types with several clicks; None if there are none."""

    def rows_of(group: DatasetGroup) -> list[Row]:
        rows = []
        for results, kind, clicks in _all_clicked(all_results, group):
            cells = [kind, results.name, str(len(clicks.ious))]
            for threshold in NOC_THRESHOLDS:
                noc = clicks.reach(threshold)
                cells += [
                    f"{noc.mean:.2f}",
                    f"{noc.failures} ({noc.failures / len(clicks.ious):.0%})",
                ]
            rows.append(tuple(cells))
        return rows

    rows = rows_by_group(all_results, rows_of)
    if not rows:
        return None
    head = ["prompts", "model", "objects"]
    for threshold in NOC_THRESHOLDS:
        head += [f"NoC@{threshold:.2f}", f"failures@{threshold:.2f}"]
    note = (
        "Mean number of clicks (NoC) to reach an IoU, each where the error is deepest. "
        "An object that never reaches it is a failure and counts with the maximum number of clicks. A box "
        "before the clicks counts as none. All objects count alike, whatever their data set."
    )
    return Table("Number of clicks", tuple(head), rows, note)


def curve_table(all_results: Sequence[Results]) -> Table | None:
    """Mean IoU after each of some numbers of clicks, and where clicks make masks worse; None without."""
    lengths = {n for kind in with_clicks(all_kinds(all_results)) for n in _numbers(kind)}
    numbers = [n for n in _SHOWN if n in lengths]

    def rows_of(group: DatasetGroup) -> list[Row]:
        rows = []
        for results, kind, clicks in _all_clicked(all_results, group):
            curve = clicks.curve()
            means = dict(zip(curve.clicks.tolist(), curve.mean.tolist(), strict=True))
            worst = "" if curve.worst_click is None else f"click {curve.worst_click}"
            falls = ", ".join(map(str, curve.mean_falls_at)) or "nowhere"
            cells = [number(means.get(n, float("nan"))) for n in numbers]
            rows.append((kind, results.name, *cells, falls, percent(curve.ever_falling), worst))
        return rows

    rows = rows_by_group(all_results, rows_of)
    if not rows:
        return None
    head = (
        "prompts", "model",
        *("box" if n == 0 else str(n) for n in numbers), "mean falls at click",
        "objects that a click made worse", "most at",
    )  # fmt: skip
    note = (
        "Mean IoU after as many clicks; an object that needs no further click keeps its IoU. A click makes "
        f"an object worse if it lowers the IoU by more than {FALL}."
    )
    return Table("IoU by number of clicks", head, rows, note)


def _numbers(kind: str) -> range:
    """Numbers of clicks for which a prompt type has an IoU."""
    parsed = PromptKind.parse(kind)
    return range(parsed.clicks - parsed.rounds + 1, parsed.clicks + 1)


def _all_clicked(
    all_results: Sequence[Results], group: DatasetGroup
) -> list[tuple[Results, str, Clicked]]:
    return [
        (results, kind, clicks)
        for kind in with_clicks(all_kinds(all_results))
        for results in all_results
        if (clicks := clicked(results, kind, group.datasets)) is not None
    ]


def curve_plot(all_results: Sequence[Results], group: DatasetGroup) -> Plot | None:
    """Mean IoU by number of clicks, an axis per prompt type; None without clicks."""
    series = _all_clicked(all_results, group)
    kinds = list(dict.fromkeys(kind for _, kind, _ in series))
    if not kinds:
        return None
    boxed = any("box" in PromptKind.parse(kind).uses for kind in kinds)
    box = "; 0 clicks: the box alone" if boxed else ""
    return Plot(
        f"IoU by number of clicks ({group.title})",
        partial(_draw, all_results, kinds, series),
        size=(min(12.6, 0.6 + 4 * len(kinds)), 3.6),
        note=f"Bands are 95 % intervals by subject{box}.",
    )


def _draw(
    all_results: Sequence[Results], kinds: Sequence[str],
    series: Sequence[tuple[Results, str, Clicked]], figure: Figure,
) -> None:  # fmt: skip
    every = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axes, kind in zip(every, kinds, strict=True):
        ends = []
        for results, its_kind, clicks in series:
            if its_kind != kind:
                continue
            curve, bounds = clicks.curve(), np.array(clicks.bounds())
            color = color_of(all_results, results)
            if not np.isnan(bounds).any():
                axes.fill_between(
                    curve.clicks, bounds[:, 0], bounds[:, 1], color=color, alpha=0.15, linewidth=0
                )
            axes.plot(curve.clicks, curve.mean, color=color, marker=marker_of(all_results, results))
            ends.append((float(curve.clicks[-1]), float(curve.mean[-1]), label_of(results), color))
        numbers = _numbers(kind)
        ticks = [n for n in _SHOWN if n in numbers]
        if numbers[0] > 0 and numbers[-1] >= _LOGARITHMIC:
            axes.set_xscale("log")
            axes.minorticks_off()
        axes.set_xticks(ticks, [str(n) for n in ticks])
        axes.set_title(kind)
        axes.set_xlabel("clicks")
        axes.set_ylim(0, 1)
        label_ends(axes, ends)
    every[0].set_ylabel("mean IoU")


def beside_box_table(all_results: Sequence[Results]) -> Table | None:
    """Point and box together, and box then clicks, minus the box alone; None if neither was evaluated."""
    kinds = [
        k for k in all_kinds(all_results)
        if "box" in (parsed := PromptKind.parse(k)).uses and len(parsed.uses) > 1
        and parsed.protocol == "exact"
    ]  # fmt: skip

    def rows_of(group: DatasetGroup) -> list[Row]:
        rows: list[Row] = []
        for kind in kinds:
            for results in (r for r in all_results if {kind, "box"} <= set(r.kinds)):
                gap = paired(results.rows(kind), results.rows("box"), "dice", group.datasets)
                if gap is None:
                    continue
                says = {1: "better", -1: "worse", 0: "may be by chance", None: "too few subjects"}
                cells = (str(gap.count), gap.signed(), says[gap.sign])
                rows.append((kind, results.name, *cells))
        return rows

    rows = rows_by_group(all_results, rows_of)
    if not rows:
        return None
    head = ("prompts", "model", "objects",
            "Dice minus that with the box alone", "than the box alone")  # fmt: skip
    note = (
        "The same objects with the tight box and a click together, or clicks after the box, minus the tight "
        "box alone: mean over data sets with its 95 % interval by subject."
    )
    return Table("Clicks beside the box", head, rows, note).without_empty_columns()


def click_section(all_results: Sequence[Results]) -> Section | None:
    """Curves and tables; None if nothing was prompted with more than one prompt."""
    return section(
        "Clicks",
        *(curve_plot(all_results, group) for group in dataset_groups(all_results)),
        click_table(all_results), curve_table(all_results), beside_box_table(all_results),
        says="clicks to reach an IoU, where clicks make masks worse, clicks beside a box",
    )  # fmt: skip
