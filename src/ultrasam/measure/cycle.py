"""End-diastole and end-systole in a cine, found by the area of the cavity."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ultrasam.errors import MeasurementError

Floats = npt.NDArray[np.float64]

_TURN = 0.3  # share of the curve's range by which it must turn for an end of a beat
_LEAST = 0.05  # share of the largest area by which a cavity that beats changes
_MEDIAN_FROM = 5  # frames, from which on single frames are smoothed away


@dataclass(frozen=True, slots=True)
class Beat:
    """One systole.

    Attributes:
        end_diastole, end_systole: frames of the largest and of the smallest area.
    """

    end_diastole: int
    end_systole: int


def find_beats(areas: npt.ArrayLike) -> list[Beat]:
    """The systoles in a curve of areas: each from a maximum to the next minimum.

    The curve is first smoothed by a median over three frames, so that one bad mask is no beat. It turns where
    it comes back from an extreme by 30 % of its range. If there are several systoles, one that the clip may
    have cut off is left out: whose maximum is the first frame, or whose minimum is the last. If the area only
    rises, its maximum and minimum are those of the clip.

    Args:
        areas: [T], one for each frame; NaN where the cavity is not outlined.

    Raises:
        MeasurementError: Fewer than two frames have an area, or it changes by less than 5 %.
    """
    curve = np.asarray(areas, dtype=np.float64)
    frames = np.flatnonzero(np.isfinite(curve) & (curve > 0))
    if len(frames) < 2:
        raise MeasurementError(
            f"The cavity is outlined in {len(frames)} of {len(curve)} frames; a beat needs two or more."
        )
    smooth = _median_of_three(curve[frames])
    spread = float(np.ptp(smooth))
    if spread < _LEAST * float(smooth.max()):
        raise MeasurementError(
            f"The cavity's area changes by {spread / float(smooth.max()):.1%} over the clip; that is no beat."
        )
    turns = [(_middle(smooth, i), is_max) for i, is_max in _turns(smooth, _TURN * spread)]
    beats = [
        Beat(int(frames[first]), int(frames[second]))
        for (first, is_max), (second, _) in pairwise(turns)
        if is_max
    ]
    whole = [b for b in beats if b.end_diastole != frames[0] and b.end_systole != frames[-1]]
    if len(beats) > 1 and whole:
        return whole
    ends = (_middle(smooth, int(smooth.argmax())), _middle(smooth, int(smooth.argmin())))
    return beats or [Beat(int(frames[ends[0]]), int(frames[ends[1]]))]


def _median_of_three(values: Floats) -> Floats:
    if len(values) < _MEDIAN_FROM:
        return values
    inner = np.median(np.stack([values[:-2], values[1:-1], values[2:]]), axis=0)
    return np.concatenate([values[:1], inner, values[-1:]])


def _middle(values: Floats, index: int) -> int:
    """The middle of the plateau that begins at an index: a median makes three of a curve's extreme."""
    end = index
    while end + 1 < len(values) and values[end + 1] == values[index]:
        end += 1
    return (index + end) // 2


def _turns(values: Floats, least: float) -> list[tuple[int, bool]]:
    """The extremes of a curve, in order: index, and whether it is a maximum.

    An extreme counts when the curve has come back from it by ``least``; the last one counts without that.
    """
    found: list[tuple[int, bool]] = []
    high = low = 0
    for index, value in enumerate(values):
        high = index if value > values[high] else high
        low = index if value < values[low] else low
        seeks_max = not found or not found[-1][1]
        seeks_min = not found or found[-1][1]
        if seeks_max and values[high] - value >= least:
            found.append((high, True))
            low = index
        elif seeks_min and value - values[low] >= least:
            found.append((low, False))
            high = index
    if found:
        found.append((low, False) if found[-1][1] else (high, True))
    return found
