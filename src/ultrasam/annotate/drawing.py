"""What a brush or a pen draws, as masks: a pixel is covered if its center is.

Coordinates are (x, y) in pixels; the origin is the top-left corner of the top-left pixel, so that the center
of the first pixel is at 0.5, 0.5.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ultrasam.errors import PromptError
from ultrasam.images.masks import BoolMask


def brush_mask(path: npt.ArrayLike, radius: float, shape: tuple[int, int]) -> BoolMask:
    """The pixels whose centers a round brush covers on its way.

    Args:
        path: [K, 2] of (x, y), K ≥ 1.
        radius: in pixels.
        shape: (height, width) of the mask.

    Raises:
        PromptError: The path has no point, or a number is not finite, or the radius is not positive.
    """
    points = _points(path)
    if not (np.isfinite(radius) and radius > 0):
        raise PromptError(f"The brush has the radius {radius:g}; give a positive one.")
    mask = np.zeros(shape, bool)
    for start, end in zip(points[[0, *range(len(points) - 1)]], points, strict=True):
        low, high = np.minimum(start, end) - radius, np.maximum(start, end) + radius
        x0, y0 = np.maximum(np.floor(low), 0).astype(np.int64)
        x1, y1 = np.minimum(np.ceil(high), (shape[1], shape[0])).astype(np.int64)
        if x0 >= x1 or y0 >= y1:
            continue
        x, y = np.arange(x0, x1) + 0.5, np.arange(y0, y1)[:, None] + 0.5
        across, down = end - start
        length = across**2 + down**2
        along = ((x - start[0]) * across + (y - start[1]) * down) / length if length else 0.0
        along = np.clip(along, 0, 1)
        distance = (x - start[0] - along * across) ** 2 + (y - start[1] - along * down) ** 2
        mask[y0:y1, x0:x1] |= distance <= radius**2
    return mask


def polygon_interior(corners: npt.ArrayLike, shape: tuple[int, int]) -> BoolMask:
    """The pixels whose centers a closed line encloses; where it crosses itself, by the even-odd rule.

    Args:
        corners: [K, 2] of (x, y), K ≥ 3.
        shape: (height, width) of the mask.

    Raises:
        PromptError: There are fewer than three corners, or a number is not finite.
    """
    points = _points(corners)
    if len(points) < 3:
        raise PromptError(f"A polygon has at least 3 corners, not {len(points)}.")
    height, width = shape
    starts, ends = points, np.roll(points, -1, axis=0)
    # The rows whose centers each edge passes.
    upper, lower = np.minimum(starts[:, 1], ends[:, 1]), np.maximum(starts[:, 1], ends[:, 1])
    first = np.clip(np.ceil(upper - 0.5), 0, height).astype(np.int64)
    counts = np.clip(np.ceil(lower - 0.5), 0, height).astype(np.int64) - first
    edge = np.repeat(np.arange(len(points)), counts)
    rows = first[edge] + np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    steps = ends - starts
    share = (rows + 0.5 - starts[edge, 1]) / steps[edge, 1]
    crossing = starts[edge, 0] + share * steps[edge, 0]
    columns = np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.int64)
    crossings = np.zeros((height, width + 1), np.int32)
    np.add.at(crossings, (rows, columns), 1)
    return np.asarray(crossings.cumsum(axis=1)[:, :width] % 2 == 1)


def _points(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    points = np.asarray(values, np.float64)
    if points.ndim != 2 or points.shape[1:] != (2,) or not len(points):
        raise PromptError("A line needs points, each as x, y.")
    if not np.isfinite(points).all() or np.abs(points).max() > 1e6:
        raise PromptError("A line's points must be finite numbers of at most a million pixels.")
    return points
