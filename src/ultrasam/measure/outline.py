"""The outline of a mask, halfway between the centers of the pixels inside and those outside.

A pixel belongs to a mask if its center does, so the true border lies between two centers. Halfway is right on
average: the centers of the border pixels would make every shape too small, and their corners would make every
oblique shape too large.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt

from ultrasam.errors import MeasurementError
from ultrasam.images.masks import bounding_box, fill_holes, largest_component

BoolMask = npt.NDArray[np.bool_]
Points = npt.NDArray[np.float64]
Spacing = tuple[float, float]
PIXELS: Spacing = (1.0, 1.0)


def largest_part(mask: BoolMask) -> BoolMask:
    """The largest 8-connected part of a mask [H, W], with its holes filled: what a person would measure.

    Raises:
        MeasurementError: The mask is empty, or not [H, W].
    """
    if mask.ndim != 2 or not mask.any():
        what = "is empty" if mask.ndim == 2 else f"has the shape {mask.shape} instead of (H, W)"
        raise MeasurementError(f"The mask {what}; only an outlined object can be measured.")
    inside = _tight(mask)
    part = np.zeros(mask.shape, bool)
    part[inside] = fill_holes(largest_component(mask[inside]))
    return part


def _tight(mask: BoolMask) -> tuple[slice, slice]:
    """The rows and columns of the tight box of a mask; most of an image is empty."""
    x0, y0, x1, y1 = bounding_box(mask).astype(int)
    return slice(y0, y1), slice(x0, x1)


def require_spacing(spacing: Spacing) -> None:
    """Check the distances between pixel centers (row, column).

    Raises:
        MeasurementError: They are not two positive, finite numbers.
    """
    if len(spacing) != 2 or not all(np.isfinite(s) and s > 0 for s in spacing):
        raise MeasurementError(
            f"The pixel spacing is {spacing}; two positive numbers (row, column) are needed."
        )


def outline_points(mask: BoolMask, spacing: Spacing = PIXELS, *, within: bool = False) -> Points:
    """Midpoints of all pixel edges between a mask and its outside, [K, 2] of (x, y), in the spacing's unit.

    The origin is the top-left corner of the top-left pixel. The image's edge ends a mask, too.

    Args:
        mask: [H, W].
        spacing: distance between pixel centers (row, column).
        within: leave out the midpoints on the image's edge, where the image ends, but perhaps not the
            object.
    """
    height, width = mask.shape
    inside = _tight(mask)
    corner = np.array([inside[1].start, inside[0].start])
    padded = np.pad(mask[inside], 1)
    rows, columns = np.nonzero(padded[:, 1:] != padded[:, :-1])
    upright = np.stack([columns, rows - 0.5], axis=1) + corner
    rows, columns = np.nonzero(padded[1:] != padded[:-1])
    level = np.stack([columns - 0.5, rows], axis=1) + corner
    if within:
        upright = upright[(upright[:, 0] > 0) & (upright[:, 0] < width)]
        level = level[(level[:, 1] > 0) & (level[:, 1] < height)]
    return np.asarray(np.concatenate([upright, level]) * spacing[::-1])


def outline_segments(mask: BoolMask, spacing: Spacing = PIXELS) -> Points:
    """The outline as straight segments between those midpoints, [S, 2, 2] of (x, y), in no order.

    These are the marching squares of a mask at 0.5 (Lorensen and Cline 1987, in the plane). Pixels that touch
    at a corner are connected. Arguments as in `outline_points`.
    """
    inside = _tight(mask)
    padded = np.pad(mask[inside], 1)
    top_left, top_right = padded[:-1, :-1], padded[:-1, 1:]
    low_left, low_right = padded[1:, :-1], padded[1:, 1:]
    # The four pixel edges that meet at a corner of pixels, by where their midpoints lie from it.
    crossed = {
        (0.0, -0.5): top_left != top_right,
        (0.0, 0.5): low_left != low_right,
        (-0.5, 0.0): top_left != low_left,
        (0.5, 0.0): top_right != low_right,
    }
    pixels = {
        (-0.5, -0.5): top_left,
        (0.5, -0.5): top_right,
        (-0.5, 0.5): low_left,
        (0.5, 0.5): low_right,
    }
    saddle = np.logical_and.reduce(list(crossed.values()))
    segments = []
    for first, second in combinations(crossed, 2):
        cells = crossed[first] & crossed[second] & ~saddle
        between = pixels.get((first[0] + second[0], first[1] + second[1]))
        if between is not None:  # of the two segments of a saddle, each cuts off an outer pixel
            cells |= saddle & ~between
        rows, columns = np.nonzero(cells)
        ends = [np.stack([columns + dx, rows + dy], axis=1) for dx, dy in (first, second)]
        segments.append(np.stack(ends, axis=1))
    corner = np.array([inside[1].start, inside[0].start])
    return np.asarray((np.concatenate(segments) + corner) * spacing[::-1])
