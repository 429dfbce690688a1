"""Find the scanned sector: where a scanner's screen shows echoes, and not text, rulers or buttons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.images.masks import BoolMask
from ultrasam.images.pixels import BLACK, Frame
from ultrasam.images.scan import Scan
from ultrasam.morphology import convex_hull

Kind = Literal["sector", "curved", "rectangle"]
Gray = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]

_MIN_AROUND = (
    0.02  # share of the image that must be black around the scan, or nothing can be told apart
)
_MIN_INSIDE = 0.03  # share of the image that must be scanned; less is a button or a logo
_KERNEL = np.ones((5, 5), np.uint8)
_FRAMES = 8  # of a cine that are looked at
_MIN_PART = 0.2  # of the best part's echoes that another part needs, to be scan too
_FEW = 0.3  # share of a part that must be textured; buttons and bars are flat
_SIZE = 800  # pixels of the longer side at which the finder works: text has one size, and speckle a grain
_WINDOW, _DENSE = 15, 0.55  # pixels of that size; letters cover less of a window
_WHITE = 170  # of text
_MAX_ENLARGED = 2.5
_PARALLEL = 10.0  # degrees between the sides up to which a sector is a rectangle
_POINTED = 0.1  # of the far radius up to which the near one is that of a phased array


@dataclass(frozen=True, slots=True, eq=False)
class Sector:
    """The scanned part of a frame.

    Attributes:
        mask: [H, W], the union of all parts.
        kind: of the largest part: "sector" (phased array, beams from a point), "curved" (convex array) or
            "rectangle" (linear array; also a steered one).
        apex: (x, y) where the sides meet, in pixels; None for a rectangle.
        radii: distance of the first and the last echo from the apex, in pixels; None for a rectangle.
        parts: how many views there are, as two side by side.
    """

    mask: BoolMask
    kind: Kind
    apex: tuple[float, float] | None = None
    radii: tuple[float, float] | None = None
    parts: int = 1


def find_sector(scan: Scan, *, regions: Sequence[Box] = ()) -> Sector | None:
    """Find the scanned sector of a still or cine; it is taken to be at rest.

    Echoes are where pixels are not black and vary from one to the next, as speckle does and buttons do not;
    in a cine, also where they change. Parts that are one above the other belong to one sector, whose convex
    hull is taken, without what is nearer to the probe than the first echo; parts side by side are views of
    their own.

    Args:
        regions: boxes (x0, y0, x1, y1) outside of which nothing is scanned, as a file states them.

    Returns:
        None if hardly anything is black around the echoes, or hardly anything shows some.
    """
    step = max(1, -(-scan.num_frames // _FRAMES))
    frames = [_gray(scan.frame(index)) for index in range(0, scan.num_frames, step)]
    return sector_of(frames, regions=regions)


def sector_of(frames: Sequence[Frame], *, regions: Sequence[Box] = ()) -> Sector | None:
    """As `find_sector`, in frames [H, W] or [H, W, 3] of one scan."""
    height, width = frames[0].shape[:2]
    scale = min(_SIZE / max(height, width), _MAX_ENLARGED)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    grays: list[Gray] = [
        np.asarray(cv2.resize(_gray(frame), None, fx=scale, fy=scale, interpolation=way), np.uint8)
        for frame in frames
    ]
    allowed = np.full((height, width), not len(regions))
    for x0, y0, x1, y1 in regions:
        allowed[y0:y1, x0:x1] = True
    lit = _dense(np.maximum.reduce(grays))
    lit &= (
        cv2.resize(allowed.astype(np.uint8), lit.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    )
    parts = _views(_echoing(lit, grays))
    if not parts:
        return None
    shapes = [_shape(convex_hull(part), part) for part in parts]
    small = np.logical_or.reduce([shape.mask for shape in shapes])
    inside = cv2.resize(small.astype(np.uint8), (width, height), interpolation=cv2.INTER_LINEAR) > 0
    inside &= allowed
    if not _MIN_INSIDE < inside.mean() < 1 - _MIN_AROUND:
        return None
    largest = max(shapes, key=lambda shape: np.count_nonzero(shape.mask))
    if largest.apex is None or largest.radii is None:
        return Sector(inside, largest.kind, parts=len(shapes))
    apex = (largest.apex[0] / scale, largest.apex[1] / scale)
    radii = (largest.radii[0] / scale, largest.radii[1] / scale)
    return Sector(inside, largest.kind, apex, radii, len(shapes))


def _gray(frame: Frame) -> Gray:
    return frame if frame.ndim == 2 else np.asarray(frame.max(axis=2))


def _dense(gray: Gray) -> BoolMask:
    """Where most of the surroundings are not black, [H, W], as tissue is and text is not."""
    # The mean fills the gaps in speckle; the minimum brings letters back to their strokes.
    solid = cv2.erode(cv2.blur(gray, (3, 3)), np.ones((3, 3), np.uint8)) > BLACK

    def share(pixels: BoolMask) -> npt.NDArray[np.float32]:
        return np.asarray(cv2.blur(pixels.astype(np.float32), (_WINDOW, _WINDOW)))

    text = (share(gray >= _WHITE) > 0.12) & (share(gray <= 2 * BLACK) > 0.25)
    dense = ((share(solid) > _DENSE) & ~text).astype(np.uint8)
    opened = cv2.morphologyEx(dense, cv2.MORPH_OPEN, _KERNEL, iterations=3)
    return np.asarray(cv2.morphologyEx(opened, cv2.MORPH_CLOSE, _KERNEL, iterations=2).astype(bool))


def _echoing(lit: BoolMask, grays: Sequence[Gray]) -> list[BoolMask]:
    """The parts of what is lit that show echoes, the one with most of them first."""
    textured = np.zeros(lit.shape, bool)
    for gray in grays:
        textured |= np.abs(cv2.Laplacian(gray, cv2.CV_16S)) > 1
    # Letters on a bar are textured, too, but not the bar between them.
    texture = cv2.blur(textured.astype(np.float32), (9, 9)) > 0.5
    changing = np.zeros(lit.shape, bool)
    if len(grays) > 1:
        changing = np.ptp(np.stack(grays), axis=0) > 2 * BLACK
    count, labels, stats, _ = cv2.connectedComponentsWithStats(lit.astype(np.uint8))
    scores = {}
    for number in range(1, count):
        x, y, width, height, area = stats[number]
        if area < 0.002 * lit.size:
            continue
        place = np.s_[y : y + height, x : x + width]
        part = labels[place] == number
        share = np.count_nonzero(texture[place] & part) / area
        moving = np.count_nonzero(changing[place] & part) / area
        if share >= _FEW:
            scores[number] = area * share * (0.2 + moving if changing.any() else 1.0)
    chosen = sorted(scores, key=lambda number: -scores[number])
    if not chosen:
        return []
    main = stats[chosen[0]]

    def belongs(number: int) -> bool:
        x, _, width, _, _ = stats[number]
        common = min(x + width, main[0] + main[2]) - max(x, main[0])
        # What stands above or below the main part, about as wide, is the same view beyond a dark structure.
        beyond = common > 0.8 * width and width > 0.5 * main[2]
        return bool(beyond or scores[number] >= _MIN_PART * scores[chosen[0]])

    return [labels == number for number in chosen if belongs(number)]


def _views(parts: Sequence[BoolMask]) -> list[BoolMask]:
    """Join parts that are one above the other, by their extent in x."""
    views: list[BoolMask] = []
    for part in parts:
        columns = np.flatnonzero(part.any(axis=0))
        for index, view in enumerate(views):
            others = np.flatnonzero(view.any(axis=0))
            common = min(columns[-1], others[-1]) - max(columns[0], others[0])
            if common > 0.5 * min(np.ptp(columns), np.ptp(others)):
                views[index] = view | part
                break
        else:
            views.append(part)
    return views


def _shape(hull: BoolMask, part: BoolMask) -> Sector:
    """What array a view is of, by its sides; the mask is a little wider than the hull."""
    mask = cv2.dilate(hull.astype(np.uint8), _KERNEL) > 0
    sides = _sides(hull)
    if sides is None:
        return Sector(mask, "rectangle")
    (left_slope, left), (right_slope, right) = sides  # x = slope · y + offset
    angle = math.degrees(abs(math.atan(left_slope) - math.atan(right_slope)))
    if angle < _PARALLEL:
        return Sector(mask, "rectangle")
    y = (right - left) / (left_slope - right_slope)
    apex = (left_slope * y + left, y)
    rows, columns = np.nonzero(part)
    distance = np.hypot(columns + 0.5 - apex[0], rows + 0.5 - apex[1])
    near, far = (float(v) for v in np.percentile(distance, [0.1, 99.9]))
    if near < _POINTED * far:
        return Sector(mask, "sector", apex, (near, far))
    rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
    before = np.hypot(columns + 0.5 - apex[0], rows + 0.5 - apex[1]) < near - 5
    return Sector(mask & ~before, "curved", apex, (near, far))


def _sides(hull: BoolMask) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """The left and the right side as lines (slope, offset) of x over y: the hull's longest steep edges."""
    contours, _ = cv2.findContours(
        hull.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    points = cv2.convexHull(np.concatenate(contours))[:, 0].astype(np.float64)
    tolerance = 0.01 * float(np.ptp(points, axis=0).max())
    corners = cv2.approxPolyDP(points.astype(np.float32)[:, None], tolerance, True)[:, 0]
    width = hull.shape[1]
    middle = (float(points[:, 0].min()) + float(points[:, 0].max())) / 2
    opening: dict[bool, tuple[float, float, float]] = {}
    closing: dict[bool, tuple[float, float, float]] = {}
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        across, down = float(x1 - x0), float(y1 - y0)
        if (
            abs(down) < 0.4 * abs(across) or abs(down) < 1
        ):  # wider than 68 degrees to a side: an arc
            continue
        at_border = min(x0, x1) < 0.01 * width or max(x0, x1) > 0.99 * width
        if at_border and abs(across) < 0.02 * abs(down):  # the frame cuts the sector off
            continue
        is_left = (float(x0) + float(x1)) / 2 < middle
        slope = across / down
        found = opening if (slope <= 0) == is_left else closing
        length = math.hypot(across, down)
        if length > found.get(is_left, (0.0,))[0]:
            found[is_left] = (length, slope, float(x0) - slope * float(y0))
    # Beams spread downwards, as most scanners show them, or upwards.
    least = 0.1 * float(np.ptp(points[:, 1]))
    for found in (opening, closing, opening | closing):
        if len(found) == 2 and min(side[0] for side in found.values()) > least:
            return found[True][1:], found[False][1:]
    return None
