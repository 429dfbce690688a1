"""The greatest length of a smooth shape, from more of its outline than the few pixels at its ends.

Where an outline runs along the pixels, one row of them tells where it ends, to half a pixel only, however
many pixels long that row is. The steps on both sides of it tell more: how the length falls away from its
greatest value.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Profile = npt.NDArray[np.float64]
_FALL = 0.4  # the part of the greatest length by which it falls in what is fitted
_LEAST_POSITIONS = 8
_LEAST_PIXELS = 16  # of the greatest length
_DEVIATION = 0.45  # pixels, of a profile from the fit: what the steps of two outlines make
_LEAST_WEIGHT = 0.1


def crest(profile: Profile, pixel: float) -> tuple[float, bool]:
    """The greatest of the lengths [K] of a shape at evenly spaced positions across it.

    The squares of the lengths around the greatest one are fitted by a parabola, which is exact for an
    ellipse. A position weighs as much as the length changes there, because where it does not, all positions
    share the error of one row of pixels. The top of the fit replaces the greatest length by at most a pixel:
    half of one at each end is what a mask leaves open.

    Args:
        profile: K lengths, not negative.
        pixel: the pixels' longer side, in the unit of the lengths.

    Returns:
        The length, and whether the fit explains the profile; if not, or if the shape has too few pixels, the
        length is the greatest of the profile.
    """
    top = int(profile.argmax())
    greatest = float(profile[top])
    low = np.flatnonzero(profile < (1 - _FALL) * greatest)
    first = int(low[low < top].max(initial=-1)) + 1
    end = int(low[low > top].min(initial=len(profile)))
    around = profile[first:end]
    if len(around) < _LEAST_POSITIONS or greatest < _LEAST_PIXELS * pixel:
        return greatest, False
    x = np.linspace(-1, 1, len(around))
    weights = np.sqrt(np.abs(x) + _LEAST_WEIGHT) / around
    squares = np.polyval(np.polyfit(x, around**2, 2, w=weights), x)
    fitted = np.sqrt(np.maximum(squares, 0))
    if np.sqrt(np.mean((fitted - around) ** 2)) > _DEVIATION * pixel:
        return greatest, False
    return float(np.clip(fitted.max(), greatest - pixel, greatest + pixel)), True
