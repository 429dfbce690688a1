"""A chapter per protocol: the tables of each of its prompt types."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from ultrasam.evaluation.report.groups import DatasetGroup, dataset_groups
from ultrasam.evaluation.report.means import Mean, estimate, seed_of
from ultrasam.evaluation.report.prompts import all_kinds, of_protocol
from ultrasam.evaluation.report.results import Results
from ultrasam.evaluation.report.styles import color_of, label_of, marker_of, point
from ultrasam.evaluation.report.tables import dataset_table, metric_table
from ultrasam.reporting.document import Plot, Section, section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SAYS = {
    "exact": "prompts that the mask alone determines: tight box, most interior point, center of mass",
    "human": "prompts as imprecise as people's; ± is the deviation of the mean between repeats",
}


def dataset_plot(all_results: Sequence[Results], kind: str) -> Plot | None:
    """Mean Dice of each model on each data set, with 95 % intervals; None without objects."""
    evaluated = [r for r in all_results if kind in r.kinds]
    groups = dataset_groups(all_results)
    means = {
        (name, results.name): mean
        for group in groups
        for name in group.datasets
        for results in evaluated
        if (mean := estimate(results.rows(kind, name), "dice", seed=seed_of(name))) is not None
    }
    if not means:
        return None
    names = [n for group in groups for n in group.datasets if any(n == key for key, _ in means)]
    return Plot(
        f"Dice by data set, {kind}",
        partial(_draw, all_results, evaluated, groups, names, means),
        size=(7.2, 0.9 + len(names) * max(0.3, 0.11 * len(evaluated))),
        note="95 % intervals by subject.",
    )


def _draw(
    all_results: Sequence[Results], evaluated: Sequence[Results], groups: Sequence[DatasetGroup],
    names: Sequence[str], means: dict[tuple[str, str], Mean], figure: Figure,
) -> None:  # fmt: skip
    axes = figure.subplots()
    step = 0.8 / max(1, len(evaluated))
    for number, results in enumerate(evaluated):
        color, marker = color_of(all_results, results), marker_of(all_results, results)
        for row, name in enumerate(names):
            mean = means.get((name, results.name))
            if mean is not None:
                y = row - 0.4 + (number + 0.5) * step
                point(axes, mean.mean, y, mean.bounds, color=color, marker=marker)
        axes.plot([], [], color=color, marker=marker, label=label_of(results))
    group_of = {name: group.label for group in groups for name in group.datasets}
    several = len(groups) > 1
    axes.set_yticks(
        range(len(names)), [f"{name}\n{group_of[name]}" if several else name for name in names]
    )
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    for row in range(1, len(names)):
        axes.axhline(row - 0.5, color="gray", linewidth=0.4)
    axes.grid(axis="y", visible=False)
    axes.set_xlim(right=1)
    axes.set_xlabel("Dice")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))


def protocol_section(all_results: Sequence[Results], protocol: str) -> Section | None:
    """The prompt types of one protocol, each with its tables; None if none was evaluated."""
    parts = []
    for kind in of_protocol(all_kinds(all_results), protocol):
        evaluated = [r for r in all_results if kind in r.kinds and len(r.rows(kind))]
        if not evaluated:
            continue
        parts.append(
            section(
                f"Prompt: {kind}",
                _clicks_outside(evaluated[0], kind),
                dataset_table(all_results, kind, "dice"),
                dataset_plot(all_results, kind),
                metric_table(all_results, kind),
            )
        )
    return section(f"{protocol.capitalize()} protocol", sections=parts, says=_SAYS[protocol])


def _clicks_outside(results: Results, kind: str) -> str:
    if kind.split("+")[-1].rstrip("0123456789") not in ("point", "points"):
        return ""
    outside = results.rows(kind)["click_outside"].to_numpy()
    return (
        "The first click is the object's center of mass; it lies outside the object in "
        f"{float(outside.mean()):.1%} of cases.\n"
    )
