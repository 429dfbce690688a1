"""What corrective clicks bring: how many an IoU takes, and where one makes a mask worse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
NOC_THRESHOLDS = (0.80, 0.85, 0.90)
FALL = 0.01  # smaller losses of IoU do not count as a fall


@dataclass(frozen=True, slots=True)
class NumberOfClicks:
    """Number of clicks (NoC) to reach an IoU (Xu et al. 2016, 5.1).

    Attributes:
        mean: objects that never reach the IoU count with the maximum number of clicks.
        failures: number of those objects.
    """

    mean: float
    failures: int


def clicks_to_reach(
    ious: Sequence[Sequence[float]], threshold: float, max_clicks: int, *, first: int = 1
) -> NumberOfClicks:
    """NoC over objects.

    Args:
        ious: of each object, after its first prompt and after each corrective click.
        threshold: IoU to reach.
        max_clicks: maximum number of clicks.
        first: clicks in the first prompt: 0 if it is a box.
    """
    needed, failures = [], 0
    for values in ious:
        reached = next((n for n, value in enumerate(values, first) if value >= threshold), None)
        failures += reached is None
        needed.append(max_clicks if reached is None else reached)
    return NumberOfClicks(float(np.mean(needed)) if needed else float("nan"), failures)


@dataclass(frozen=True, slots=True)
class ClickCurve:
    """IoU after the first prompt and after each corrective click.

    Attributes:
        clicks: number of clicks at each point of the curve [K].
        mean: mean IoU over objects [K].
        falling: share of objects whose IoU that click lowers by more than ``FALL`` (0.01) [K]; 0 for the
            first.
        ever_falling: share of objects with at least one such click.
        objects: number of objects.
    """

    clicks: npt.NDArray[np.int64]
    mean: Floats
    falling: Floats
    ever_falling: float
    objects: int

    @property
    def worst_click(self) -> int | None:
        """The click that makes the masks of most objects worse; None if no click makes any worse."""
        return int(self.clicks[self.falling.argmax()]) if self.falling.any() else None

    @property
    def mean_falls_at(self) -> tuple[int, ...]:
        """The clicks after which the mean IoU is lower than before."""
        return tuple(int(n) for n in self.clicks[1:][np.diff(self.mean) < 0])


def click_curve(ious: Sequence[Sequence[float]], max_clicks: int, *, first: int = 1) -> ClickCurve:
    """The click curve over objects; arguments as in `clicks_to_reach`.

    An object with fewer clicks than the maximum needs no more, and keeps its last IoU.

    Raises:
        ValueError: An object has no IoU, or more of them than there are clicks.
    """
    length = max_clicks - first + 1
    if any(not 1 <= len(values) <= length for values in ious):
        raise ValueError(f"every object needs 1 to {length} values of IoU")
    clicks = np.arange(first, max_clicks + 1)
    filled = np.array(
        [[*values, *[values[-1]] * (length - len(values))] for values in ious], dtype=np.float64
    ).reshape(-1, length)
    if not len(filled):
        return ClickCurve(clicks, np.full(length, np.nan), np.zeros(length), float("nan"), 0)
    falls = np.diff(filled, axis=1, prepend=filled[:, :1]) < -FALL
    return ClickCurve(
        clicks, filled.mean(axis=0), falls.mean(axis=0), float(falls.any(axis=1).mean()), len(filled)
    )  # fmt: skip
