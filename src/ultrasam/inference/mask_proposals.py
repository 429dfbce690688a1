"""Masks that nobody pointed at: grids of points, and the choice among what they give."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.images.masks import BoolMask

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def point_grid(points_per_side: int) -> FloatArray:
    """The centers of the cells of a grid over the unit square, [n², 2], row by row."""
    first = 1 / (2 * points_per_side)
    side = np.linspace(first, 1 - first, points_per_side)
    x, y = np.meshgrid(side, side)
    return np.stack([x, y], axis=-1).reshape(-1, 2)


def non_maximum(boxes: npt.ArrayLike, scores: npt.ArrayLike, max_iou: float) -> IntArray:
    """The indices of boxes [N, 4] that no better one overlaps by more than an IoU, best first.

    Ties go to the first. Empty boxes overlap nothing.
    """
    corners = np.asarray(boxes, np.float64).reshape(-1, 4)
    areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    left = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        low = np.maximum(corners[best, :2], corners[left, :2])
        high = np.minimum(corners[best, 2:], corners[left, 2:])
        common = np.prod(np.clip(high - low, 0, None), axis=1)
        union = areas[best] + areas[left] - common
        left = left[common <= max_iou * union]
    return np.array(kept, np.int64)


def without_small_parts(mask: BoolMask, area: float, *, holes: bool) -> BoolMask:
    """A mask [H, W] without holes, or else pieces, of fewer pixels; the largest piece stays in any case.

    Holes and pieces are 8-connected, as in segment-anything.
    """
    count, parts, stats, _ = cv2.connectedComponentsWithStats((mask ^ holes).astype(np.uint8))
    sizes = stats[1:, cv2.CC_STAT_AREA]
    if count < 2 or not (sizes < area).any():
        return mask
    small = 1 + np.flatnonzero(sizes < area)
    if holes:
        return np.asarray(mask | np.isin(parts, small))
    large = 1 + np.flatnonzero(sizes >= area)
    return np.asarray(np.isin(parts, large if len(large) else [1 + int(sizes.argmax())]))
