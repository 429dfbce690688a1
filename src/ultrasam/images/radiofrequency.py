"""Recognize radiofrequency (RF) data, the echoes before they become a B-mode image."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

B_MODE = "give the B-mode image: the envelope of each line, compressed logarithmically and scan-converted"

_SHORTEST = 128  # samples of a line; an echo line has several hundred
_LAGS = 16  # samples; half a period of 2 MHz, sampled at 60 MHz
_SWING = -0.1  # autocorrelation; in B-mode images it stays above
_CERTAIN = 6  # standard errors of the autocorrelation of noise
_MOST_LINES = 64  # looked at along each other axis


def is_radiofrequency(values: npt.NDArray[Any]) -> bool:
    """Whether signed values of an image or a stack of images look like RF data.

    RF is as often negative as positive, and along its lines it swings about zero with the transducer's
    frequency, so its autocorrelation becomes negative within half a period. A B-mode image that was
    normalized to zero mean has negative values too, but they are those of its background, and neighbors
    resemble each other.
    """
    if values.ndim < 2:
        return False
    negative = int(np.count_nonzero(np.less(values, 0)))
    if not 0.4 <= negative / max(1, int(np.count_nonzero(values))) <= 0.6:
        return False
    return any(
        length >= _SHORTEST and _swings(values, axis) for axis, length in enumerate(values.shape)
    )


def _swings(values: npt.NDArray[Any], axis: int) -> bool:
    some = tuple(
        slice(None) if a == axis else slice(None, None, max(1, length // _MOST_LINES))
        for a, length in enumerate(values.shape)
    )
    lines = np.moveaxis(values[some].astype(np.float64), axis, -1)
    lines = lines - lines.mean()
    power = float((lines**2).mean())
    least = min(_SWING, -_CERTAIN / lines.size**0.5) * power
    shifts = range(1, _LAGS + 1)
    return power > 0 and any((lines[..., k:] * lines[..., :-k]).mean() < least for k in shifts)
