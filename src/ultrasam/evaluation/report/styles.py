"""How models look in all plots of a report: each has one color and one marker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ultrasam.evaluation.report.means import Mean
from ultrasam.evaluation.report.results import Results
from ultrasam.reporting.theme import color, marker

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_LONGEST = 22  # characters of a name in a plot


def label_of(results: Results) -> str:
    """The model's name as a plot has room for it: of a path, its end."""
    name = results.name
    return name if len(name) <= _LONGEST else f"…{name[1 - _LONGEST :]}"


def color_of(all_results: Sequence[Results], results: Results) -> str:
    """The model's color."""
    return color([r.name for r in all_results].index(results.name))


def marker_of(all_results: Sequence[Results], results: Results) -> str:
    """The model's marker."""
    return marker([r.name for r in all_results].index(results.name))


def point(
    axes: Axes, x: float, y: float, bounds: tuple[float, float], *, color: str, marker: str = "o",
    hollow: bool = False, upright: bool = False,
) -> None:  # fmt: skip
    """A value as a marker with its interval as a line, along x or, if upright, along y.

    Args:
        axes: where to draw.
        x, y: the value's place.
        bounds: the interval; NaN for none.
        color, marker: of the model.
        hollow: an open marker.
        upright: whether the value is y.
    """
    if not np.isnan(bounds[0]):
        ends = ([x, x], bounds) if upright else (bounds, [y, y])
        axes.plot(*ends, color=color, linewidth=1.4, solid_capstyle="butt", zorder=2)
    axes.plot(
        [x], [y], linestyle="", marker=marker, color=color, markersize=5, zorder=3,
        markerfacecolor="white" if hollow else color,
    )  # fmt: skip


def band(axes: Axes, xs: Sequence[float], estimates: Sequence[Mean], *, color: str, marker: str,
         style: str = "-") -> None:  # fmt: skip
    """A line through estimates, with their intervals as a band."""
    bounds = np.array([e.bounds for e in estimates])
    if not np.isnan(bounds).any():
        axes.fill_between(xs, bounds[:, 0], bounds[:, 1], color=color, alpha=0.15, linewidth=0)
    axes.plot(xs, [e.mean for e in estimates], color=color, marker=marker, linestyle=style)
