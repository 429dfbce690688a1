"""The outline of a mask, halfway between the centers of the pixels inside and those outside.

A pixel belongs to a mask if its center does, so the true border lies between two centers. Halfway is right on
average: the centers of the border pixels would make every shape too small, and their corners would make every
oblique shape too large.
"""

from __future__ import annotations

import math
from itertools import combinations

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.errors import MeasurementError
from ultrasam.images.masks import bounding_box, fill_holes, largest_component

BoolMask = npt.NDArray[np.bool_]
Points = npt.NDArray[np.float64]
Spacing = tuple[float, float]
PIXELS: Spacing = (1.0, 1.0)
_DEVIATION = 1.5  # of the Gaussian that smooths an outline, in units of the pixels' longer side
_DEEP = 4  # pixels: a depth from which on the Gaussian has its full width


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

    Pixels that touch at a corner are connected. Arguments as in `outline_points`.
    """
    inside = _tight(mask)
    segments = _level_segments(np.pad(mask[inside], 1).astype(np.float64))
    corner = np.array([inside[1].start, inside[0].start])
    return np.asarray((segments + corner) * spacing[::-1])


def smooth_segments(mask: BoolMask, spacing: Spacing = PIXELS) -> Points:
    """A smooth outline of a mask of one piece as straight segments, [S, 2, 2] of (x, y), in no order.

    The midpoints of a staircase make an oblique border up to 8 % too long. Here the mask is first smoothed by
    a Gaussian with a standard deviation σ of 1.5 pixels, of a thin shape of a quarter of its thickness. The
    outline is the level at which a closed curve of the length P keeps its area: a Gaussian takes π σ² of it,
    since its total curvature is 2 π. Straight borders stay where they are; corners are rounded. Arguments as
    in `outline_points`.
    """
    inside = _tight(mask)
    longer = max(spacing)
    deviation = longer * min(_DEVIATION, (2 * _depth(np.pad(mask[inside], 1)) - 1) / 4)
    margin = int(4 * deviation / min(spacing)) + 2
    field = np.pad(mask[inside], margin).astype(np.float32)
    across, down = deviation / spacing[1], deviation / spacing[0]
    smooth = cv2.GaussianBlur(field, (0, 0), across, sigmaY=down).astype(np.float64)
    upright, lying = (np.count_nonzero(np.diff(field, axis=axis)) for axis in (1, 0))
    length = (
        math.pi / 4 * (upright * spacing[0] + lying * spacing[1])
    )  # of a border in all directions
    level = 0.5 - math.sqrt(math.pi / 2) * deviation / length
    corner = np.array([inside[1].start, inside[0].start]) - (margin - 1)
    return np.asarray((_level_segments(smooth, level) + corner) * spacing[::-1])


def _depth(mask: BoolMask) -> float:
    """The greatest distance of a mask's pixel to one outside, or any number that is enough for a Gaussian of
    full width."""
    pixels = mask.astype(np.uint8)
    square = np.ones((2 * _DEEP - 1, 2 * _DEEP - 1), np.uint8)
    if cv2.erode(pixels, square, borderType=cv2.BORDER_CONSTANT, borderValue=0).any():
        return float(_DEEP)  # at least: much faster than to find out how much more
    return float(cv2.distanceTransform(pixels, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).max())


def _level_segments(field: Points, level: float = 0.5) -> Points:
    """Marching squares (Lorensen and Cline 1987, in the plane): the segments [S, 2, 2] of (x, y) on which a
    field [H, W] has a level, linear between the pixels' centers.

    The origin is the corner that the first four pixels share.
    """
    above = field > level
    top_left, top_right = above[:-1, :-1], above[:-1, 1:]
    low_left, low_right = above[1:, :-1], above[1:, 1:]
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
    # Few of the corners have a line through them.
    rows, columns = np.nonzero(
        crossed[0.0, -0.5] | crossed[-0.5, 0.0] | crossed[0.0, 0.5] | crossed[0.5, 0.0]
    )
    crossed = {edge: where[rows, columns] for edge, where in crossed.items()}
    pixels = {corner: where[rows, columns] for corner, where in pixels.items()}
    saddle = np.logical_and.reduce(list(crossed.values()))
    segments = []
    for first, second in combinations(crossed, 2):
        cells = crossed[first] & crossed[second] & ~saddle
        between = pixels.get((first[0] + second[0], first[1] + second[1]))
        if between is not None:  # of the two segments of a saddle, each cuts off an outer pixel
            cells |= saddle & ~between
        ends = [
            _crossing(field, level, rows[cells], columns[cells], edge) for edge in (first, second)
        ]
        segments.append(np.stack(ends, axis=1))
    return np.concatenate(segments)


def _crossing(
    field: Points,
    level: float,
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp],
    edge: tuple[float, float],
) -> Points:
    """Where a field has a level between two of the four pixels around corners, [K, 2] of (x, y).

    Args:
        rows, columns: of the top-left one of the four pixels.
        edge: (x, y) of the midpoint between the two, from the corner.
    """
    x, y = edge
    across = x == 0.0  # the two lie side by side
    before = field[rows + int(y > 0), columns + int(x > 0)] - level
    after = field[rows + int(y > 0 or not across), columns + int(x > 0 or across)] - level
    share = before / (before - after) - 0.5
    return np.stack([columns + (share if across else x), rows + (y if across else share)], axis=1)
