"""How Dice falls as boxes are scaled and shifted, and as clicks miss the center."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ultrasam.evaluation.report.groups import DatasetGroup, Row, dataset_groups, rows_by_group
from ultrasam.evaluation.report.means import Mean, over_datasets, text_of
from ultrasam.evaluation.report.prompts import all_kinds
from ultrasam.evaluation.report.published import published_robustness_table
from ultrasam.evaluation.report.results import Results
from ultrasam.evaluation.report.styles import band, color_of, label_of, marker_of
from ultrasam.reporting.document import Plot, Section, section
from ultrasam.reporting.plots import label_ends
from ultrasam.reporting.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Disturbance:
    """A way in which a prompt is imprecise.

    Attributes:
        title: what is disturbed.
        exact: the prompt type without it, and its value on the axis.
        pattern: names of the prompt types with it; the group is its amount.
        unit: of the amount.
        scale: factor of the amount in names.
    """

    title: str
    exact: tuple[str, float]
    pattern: str
    unit: str
    scale: float = 1.0

    def levels(self, kinds: Sequence[str]) -> dict[float, str]:
        """Prompt types by amount, ascending; empty if none is disturbed."""
        by_amount = {
            float(match[1]) * self.scale: kind
            for kind in kinds
            if (match := re.fullmatch(self.pattern, kind))
        }
        if by_amount and self.exact[0] in kinds:
            by_amount[self.exact[1]] = self.exact[0]
        return dict(sorted(by_amount.items()))

    def label(self, amount: float) -> str:
        """The head of the column of an amount."""
        if amount == self.exact[1]:
            return "exact"
        return f"× {amount:.2f}" if self.unit == "×" else f"{amount:g} {self.unit}"


DISTURBANCES = (
    Disturbance("Box scaled", ("box", 1.0), r"box-scaled(\d+)", "×", 0.01),
    Disturbance("Box shifted", ("box", 0.0), r"box-shifted(\d+)", "%"),
    Disturbance("Corners moved", ("box", 0.0), r"box(\d+)", "%"),
    Disturbance("Click off the center", ("point", 0.0), r"point-noise(\d+)", "px"),
)
_NOTES = {
    "Box scaled": "Mean Dice over data sets as the tight box shrinks or grows about its center.",
    "Box shifted": "Mean Dice over data sets as the box is shifted in a random direction, by a share of its "
    "sides.",
    "Corners moved": "Mean Dice over data sets as each corner of the box moves by up to a share of the side.",
    "Click off the center": "Mean Dice over data sets as the click leaves the center of mass by Gaussian "
    "noise of this standard deviation.",
}


def robustness_table(all_results: Sequence[Results], disturbance: Disturbance) -> Table | None:
    """Mean Dice by amount of disturbance: a row per model and group of data sets; None if none was
    evaluated."""
    levels = disturbance.levels(all_kinds(all_results))
    if len(levels) < 2:
        return None

    def rows_of(group: DatasetGroup) -> list[Row]:
        rows = []
        for results in all_results:
            means = [over_datasets(results, kind, group.datasets) for kind in levels.values()]
            if any(means):
                rows.append((results.name, *map(text_of, means)))
        return rows

    rows = rows_by_group(all_results, rows_of)
    if not rows:
        return None
    head = ("model", *map(disturbance.label, levels))
    return Table(disturbance.title, head, rows, _NOTES[disturbance.title]).without_empty_columns()


def robustness_plot(all_results: Sequence[Results], group: DatasetGroup) -> Plot | None:
    """Mean Dice by amount of disturbance, an axis for each disturbance."""
    kinds = all_kinds(all_results)
    disturbances = [d for d in DISTURBANCES if len(d.levels(kinds)) > 1]
    curves: dict[str, dict[str, tuple[list[float], list[Mean]]]] = {}
    for disturbance in disturbances:
        for results in all_results:
            points = [
                (amount, value)
                for amount, kind in disturbance.levels(kinds).items()
                if (value := over_datasets(results, kind, group.datasets)) is not None
            ]
            if len(points) > 1:
                xs, values = [x for x, _ in points], [value for _, value in points]
                curves.setdefault(disturbance.title, {})[results.name] = (xs, values)
    disturbances = [d for d in disturbances if d.title in curves]
    if not disturbances:
        return None
    return Plot(
        f"Dice as prompts grow imprecise ({group.title})",
        partial(_draw, all_results, disturbances, curves),
        size=(min(12.6, 0.6 + 3.4 * len(disturbances)), 3.4),
        note="Bands are 95 % intervals by subject.",
    )


def _draw(
    all_results: Sequence[Results], disturbances: Sequence[Disturbance],
    curves: dict[str, dict[str, tuple[list[float], list[Mean]]]], figure: Figure,
) -> None:  # fmt: skip
    every: Sequence[Axes] = figure.subplots(1, len(disturbances), sharey=True, squeeze=False)[0]
    for axes, disturbance in zip(every, disturbances, strict=True):
        ends = []
        for results in all_results:
            if results.name not in curves[disturbance.title]:
                continue
            xs, values = curves[disturbance.title][results.name]
            color = color_of(all_results, results)
            band(axes, xs, values, color=color, marker=marker_of(all_results, results))
            ends.append((xs[-1], values[-1].mean, label_of(results), color))
        axes.set_title(disturbance.title)
        axes.set_xlabel(
            {"×": "scale of the box", "%": "% of the side", "px": "px"}[disturbance.unit]
        )
        axes.set_ylim(0, 1)
        label_ends(axes, ends)
    every[0].set_ylabel("Dice")


def robustness_section(all_results: Sequence[Results]) -> Section | None:
    """Tables and plots; None if no disturbed prompt was evaluated."""
    plots = [robustness_plot(all_results, group) for group in dataset_groups(all_results)]
    tables = [robustness_table(all_results, disturbance) for disturbance in DISTURBANCES]
    return section(
        "Robustness",
        *plots,
        *tables,
        published_robustness_table(all_results) if any(tables) else None,
        says="Dice as boxes are scaled and shifted, and as clicks miss",
    )
