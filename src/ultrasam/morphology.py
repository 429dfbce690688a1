"""Operations on the shape of binary masks [H, W]: by OpenCV where it is installed, else by NumPy.

The NumPy forms serve `ultrasam.lite`, and give the same masks, but for the rim of a convex hull.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

try:
    import cv2
except ImportError:  # an environment for ultrasam.lite
    cv2 = None  # type: ignore[assignment]

BoolMask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int32]


def label_components(mask: BoolMask) -> tuple[int, Labels]:
    """Number the 8-connected components: how many numbers there are, with 0 for the background, and the
    number of each pixel [H, W]."""
    if cv2 is not None:
        count, labels = cv2.connectedComponents(mask.astype(np.uint8))
        return int(count), np.asarray(labels, np.int32)
    return _label(mask, reach=1)


def largest_component(mask: BoolMask) -> BoolMask:
    """Keep the largest 8-connected component."""
    count, labels = label_components(mask)
    if count < 2:
        return mask
    return np.asarray(labels == 1 + int(np.bincount(labels.ravel())[1:].argmax()))


def fill_holes(mask: BoolMask) -> BoolMask:
    """Fill the holes of a mask."""
    if cv2 is not None:
        filled = np.zeros(mask.shape, np.uint8)
        contours, _ = cv2.findContours(
            mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(filled, contours, -1, 1, cv2.FILLED)
        return filled.astype(bool)
    # What is outside an 8-connected object is 4-connected.
    _, labels = _label(np.pad(~mask, 1, constant_values=True), reach=0)
    return np.asarray(labels != labels[0, 0])[1:-1, 1:-1]


def bounding_box(mask: BoolMask) -> npt.NDArray[np.float64]:
    """The tight box x0, y0, x1, y1 of a mask, whose ends are the outer edges of its last pixels; all zeros
    for an empty mask."""
    if cv2 is not None:
        x, y, width, height = cv2.boundingRect(np.ascontiguousarray(mask).view(np.uint8))
        box = [x, y, x + width, y + height] if width else [0, 0, 0, 0]
        return np.array(box, dtype=np.float64)
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return np.zeros(4)
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=np.float64)


def local_mean(pixels: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """The mean of the square of ``side`` pixels around each pixel [H, W], mirrored at the border without
    repeating the pixel there."""
    if cv2 is not None:
        return np.asarray(cv2.blur(pixels, (side, side)), np.uint8)
    padded = np.pad(pixels, side // 2, mode="reflect")
    return np.asarray(np.rint(_window_sums(padded, side) / side**2), np.uint8)


def dilate(mask: BoolMask, reach: int) -> BoolMask:
    """Pixels within ``reach`` of the mask, along rows and columns."""
    side = 2 * reach + 1
    if cv2 is not None:
        kernel = np.ones((side, side), np.uint8)
        return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel), bool)
    return np.asarray(_window_sums(np.pad(mask, reach), side) > 0)


def close(mask: BoolMask, reach: int) -> BoolMask:
    """Fill gaps of up to twice ``reach``; what is beyond the border does not count."""
    return ~dilate(~dilate(mask, reach), reach)


def open_(mask: BoolMask, reach: int) -> BoolMask:
    """Remove what is thinner than twice ``reach``; what is beyond the border does not count."""
    return dilate(~dilate(~mask, reach), reach)


def convex_hull(mask: BoolMask) -> BoolMask:
    """The convex hull of a mask that is not empty."""
    if cv2 is not None:
        contours, _ = cv2.findContours(
            mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        hull = np.zeros(mask.shape, np.uint8)
        cv2.fillConvexPoly(hull, cv2.convexHull(np.concatenate(contours)), 1)
        return hull.astype(bool)
    rows = np.flatnonzero(mask.any(axis=1))
    left = mask[rows].argmax(axis=1).astype(np.float64)
    right = mask.shape[1] - 1.0 - mask[rows][:, ::-1].argmax(axis=1)
    inside = np.arange(rows[0], rows[-1] + 1)
    low = _envelope(rows, left, inside)[:, None]
    high = -_envelope(rows, -right, inside)[:, None]
    columns = np.arange(mask.shape[1])
    hull_mask = np.zeros(mask.shape, bool)
    hull_mask[inside] = (columns >= np.rint(low)) & (columns <= np.rint(high))
    return hull_mask


def _envelope(
    x: npt.NDArray[Any], y: npt.NDArray[np.float64], at: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    """The lower convex envelope of points with rising x, at some x (Andrew's monotone chain)."""
    chain: list[tuple[float, float]] = []
    for point in zip(x.tolist(), y.tolist(), strict=True):
        while len(chain) >= 2:
            (ax, ay), (bx, by) = chain[-2:]
            if (bx - ax) * (point[1] - ay) > (by - ay) * (point[0] - ax):
                break
            chain.pop()
        chain.append(point)
    corners = np.array(chain)
    return np.asarray(np.interp(at, corners[:, 0], corners[:, 1]), np.float64)


def _window_sums(padded: npt.NDArray[Any], side: int) -> npt.NDArray[np.int64]:
    """Sums over all squares of ``side`` pixels inside an array."""
    total = np.pad(padded.astype(np.int64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    ends, starts = total[side:], total[:-side]
    return np.asarray(
        ends[:, side:] - ends[:, :-side] - starts[:, side:] + starts[:, :-side], np.int64
    )


def _label(mask: BoolMask, *, reach: int) -> tuple[int, Labels]:
    """Number connected components by joining runs of rows that touch.

    Args:
        reach: 1 for 8-connected, 0 for 4-connected components.
    """
    steps = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(steps == 1)
    _, ends = np.nonzero(steps == -1)
    parent = list(range(len(rows)))

    def root(run: int) -> int:
        while parent[run] != run:
            parent[run] = parent[parent[run]]
            run = parent[run]
        return run

    first = np.searchsorted(rows, np.arange(mask.shape[0] + 1)).tolist()
    start_list, end_list = starts.tolist(), ends.tolist()
    for row in range(1, mask.shape[0]):
        above, here = first[row - 1], first[row]
        while above < first[row] and here < first[row + 1]:
            if (
                start_list[above] < end_list[here] + reach
                and start_list[here] < end_list[above] + reach
            ):
                low, high = sorted((root(above), root(here)))
                parent[high] = low
            if end_list[above] < end_list[here]:
                above += 1
            else:
                here += 1
    roots = np.array([root(run) for run in range(len(rows))], dtype=np.int64)
    kept, numbers = np.unique(roots, return_inverse=True)
    # Each run is a step up at its start and down after its end.
    changes = np.zeros((mask.shape[0], mask.shape[1] + 1), np.int32)
    changes[rows, starts] += (numbers + 1).astype(np.int32)
    changes[rows, ends] -= (numbers + 1).astype(np.int32)
    return len(kept) + 1, np.asarray(changes.cumsum(axis=1)[:, :-1], np.int32)
