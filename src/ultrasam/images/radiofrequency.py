"""Recognize radiofrequency (RF) data, the echoes before they become a B-mode image."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

B_MODE = "give the B-mode image: the envelope of each line, compressed logarithmically and scan-converted"

_SHORTEST = 128  # samples of a line; an echo line has several hundred
_LAGS = 16  # samples; half a period of 2 MHz, sampled at 60 MHz
_SWING = -0.1  # autocorrelation after half a period; in B-mode images it stays above
_RETURN = 0.35  # autocorrelation after a period; derivatives of images and their like stay below
_CERTAIN = 6  # standard errors of the autocorrelation of noise
_MOST_LINES = 64  # looked at along each other axis


def is_radiofrequency(values: npt.NDArray[Any]) -> bool:
    """Whether signed values of an image or a stack of images are RF data.

    They are if they swing about zero (see `swings_about_zero`) and, a period later, resemble themselves
    again. In images that were filtered, as by a derivative or a high-pass, they do not.
    """
    return any(later >= _RETURN for later in _swings(values))


def swings_about_zero(values: npt.NDArray[Any]) -> bool:
    """Whether signed values of an image or a stack of images might be RF data.

    RF is as often negative as positive, and along its lines it swings about zero with the transducer's
    frequency, so its autocorrelation becomes negative within half a period. A B-mode image that was
    normalized to zero mean has negative values too, but they are those of its background, and neighbors
    resemble each other.
    """
    return bool(_swings(values))


def _swings(values: npt.NDArray[Any]) -> list[float]:
    """Of each axis along which values swing about zero, the highest autocorrelation after the swing."""
    if values.ndim < 2:
        return []
    negative = int(np.count_nonzero(np.less(values, 0)))
    if not 0.4 <= negative / max(1, int(np.count_nonzero(values))) <= 0.6:
        return []
    found = [_swing(values, axis) for axis, n in enumerate(values.shape) if n >= _SHORTEST]
    return [later for later in found if later is not None]


def _swing(values: npt.NDArray[Any], axis: int) -> float | None:
    some = tuple(
        slice(None) if a == axis else slice(None, None, max(1, length // _MOST_LINES))
        for a, length in enumerate(values.shape)
    )
    lines = np.moveaxis(values[some].astype(np.float64), axis, -1)
    lines = lines - lines.mean()
    power = float((lines**2).mean())
    if not power:
        return None
    shifts = range(1, 2 * _LAGS + 1)
    alike = [float((lines[..., k:] * lines[..., :-k]).mean()) / power for k in shifts]
    lowest = int(np.argmin(alike[:_LAGS]))
    if alike[lowest] >= min(_SWING, -_CERTAIN / lines.size**0.5):
        return None
    return max(alike[lowest:])
