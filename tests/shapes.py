"""Masks of random and of known shapes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Mask = npt.NDArray[np.bool_]


def blob(rng: np.random.Generator, shape: tuple[int, int]) -> Mask:
    """A smooth random shape, a few pixels, one pixel, all, or nothing."""
    kind = rng.integers(10)
    if kind == 0:
        return np.zeros(shape, bool)
    if kind == 1:
        return np.ones(shape, bool)
    if kind == 2:
        mask = np.zeros(shape, bool)
        mask[rng.integers(shape[0]), rng.integers(shape[1])] = True
        return mask
    if kind == 3:
        return np.asarray(rng.random(shape) < 0.1)
    field = ndimage.gaussian_filter(rng.normal(size=shape), rng.uniform(1, 4))
    return np.asarray(field > np.quantile(field, rng.uniform(0.3, 0.95)))


def ellipse_mask(
    semi_major: float,
    semi_minor: float,
    angle: float = 0.0,
    *,
    spacing: tuple[float, float] = (1.0, 1.0),
    offset: tuple[float, float] = (0.0, 0.0),
) -> tuple[Mask, tuple[float, float]]:
    """The pixels whose centers lie in an ellipse, and its center (x, y), all in the spacing's unit."""
    shape = [2 * int(np.ceil(semi_major / step) + 4) for step in spacing]
    x0 = shape[1] * spacing[1] / 2 + offset[0]
    y0 = shape[0] * spacing[0] / 2 + offset[1]
    rows, columns = np.indices(shape)
    x = (columns + 0.5) * spacing[1] - x0
    y = (rows + 0.5) * spacing[0] - y0
    u = x * np.cos(angle) + y * np.sin(angle)
    v = y * np.cos(angle) - x * np.sin(angle)
    return np.asarray((u / semi_major) ** 2 + (v / semi_minor) ** 2 <= 1), (x0, y0)
