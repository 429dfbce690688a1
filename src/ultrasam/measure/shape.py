"""Area, perimeter, axes, extent and thickness of a mask, in mm if the pixel spacing is.

The length of a thin shape is its long axis, unless it is strongly curved.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.extras import needs
from ultrasam.images.masks import bounding_box
from ultrasam.measure.crest import crest
from ultrasam.measure.outline import (
    PIXELS,
    BoolMask,
    Points,
    Spacing,
    largest_part,
    require_spacing,
    smooth_segments,
)

Ends = tuple[tuple[float, float], tuple[float, float]]
_POSITIONS = 300  # across a direction, at which the lengths along it are measured
_TURNS = np.linspace(-0.3, 0.3, 9)  # radians, from the longest distance
_LEAST_TURNS = 3  # that a parabola needs


@dataclass(frozen=True, slots=True)
class Axes:
    """The long axis of a shape and the short axis perpendicular to it.

    Attributes:
        long, short: lengths.
        angle: of the long axis against the x axis, in radians, from -π/2 to π/2; y points down.
        long_ends, short_ends: (x, y) of both ends of each, in the unit of the lengths, from the top-left
            corner of the top-left pixel; None if they are not known. They lie on the outline, so their
            distance differs from the length by up to a pixel, by which `ultrasam.measure.crest` settles it.
    """

    long: float
    short: float
    angle: float = 0.0
    long_ends: Ends | None = None
    short_ends: Ends | None = None


@dataclass(frozen=True, slots=True)
class Extent:
    """How far a shape reaches along the image's axes.

    Attributes:
        width, height: of its tight box.
        top, bottom: distances of its nearest and its deepest row from the transducer's side.
    """

    width: float
    height: float
    top: float
    bottom: float


def area(mask: BoolMask, spacing: Spacing = PIXELS) -> float:
    """Area of a mask [H, W] in square units of ``spacing`` (row, column).

    Raises:
        MeasurementError: The spacing is not positive.
    """
    require_spacing(spacing)
    return float(np.count_nonzero(mask)) * spacing[0] * spacing[1]


def smooth_outline(mask: BoolMask, spacing: Spacing = PIXELS) -> Points:
    """The outline of a mask's largest part, without its holes, from which its perimeter and its axes are
    measured: segments [S, 2, 2] of (x, y), as `ultrasam.measure.outline.smooth_segments` gives them.

    Raises:
        MeasurementError: The mask is empty, or the spacing is not positive.
    """
    require_spacing(spacing)
    return smooth_segments(largest_part(mask), spacing)


def perimeter(mask: BoolMask, spacing: Spacing = PIXELS, *, outline: Points | None = None) -> float:
    """Length of the outline of a mask's largest part, without its holes, in the unit of ``spacing``.

    It is measured along `ultrasam.measure.outline.smooth_segments`: the edges of the pixels would be up to
    41 % too long. Where the image cuts an object off, the image's edge counts.

    Args:
        outline: the `smooth_outline`, if it is known already.

    Raises:
        MeasurementError: The mask is empty, or the spacing is not positive.
    """
    segments = smooth_outline(mask, spacing) if outline is None else outline
    steps = segments[:, 1] - segments[:, 0]
    return float(np.hypot(steps[:, 0], steps[:, 1]).sum())


def extent(mask: BoolMask, spacing: Spacing = PIXELS, *, surface: float = 0.0) -> Extent:
    """How far a mask's largest part reaches along the image's axes, and how deep it lies.

    The transducer is taken to be at the top of the image; depth is then measured straight down, which is
    along the beam for a linear array, and in the middle of the sector of any other.

    Args:
        mask: [H, W].
        spacing: distance between pixel centers (row, column).
        surface: row of the transducer's surface, in pixels from the top of the image.

    Raises:
        MeasurementError: The mask is empty, or the spacing is not positive.
    """
    require_spacing(spacing)
    x0, y0, x1, y1 = bounding_box(largest_part(mask)).tolist()
    row, column = spacing
    return Extent(
        (x1 - x0) * column, (y1 - y0) * row, (y0 - surface) * row, (y1 - surface) * row
    )  # fmt: skip


def long_and_short_axis(
    mask: BoolMask, spacing: Spacing = PIXELS, *, outline: Points | None = None
) -> Axes:
    """The axes of a mask's largest part, as callipers measure them.

    The long axis is the longest distance between two points of the outline (the maximum Feret diameter). The
    short axis is the longest line perpendicular to it from one side of the outline to the other, as in the
    WHO criteria for tumors (Miller et al. 1981). The outline is smooth
    (`ultrasam.measure.outline.smooth_segments`): the extremes of a staircase make every shape too large, by
    half a pixel on average. A sharp tip loses one to two pixels. What a mask leaves open, half a pixel at
    each end, is settled by the outline around the ends, if it is smooth (`ultrasam.measure.crest.crest`); so
    is the direction among those in which the shape is equally long to a pixel.

    Args:
        mask: [H, W].
        spacing: distance between pixel centers (row, column); pixels need not be square.
        outline: the `smooth_outline`, if it is known already.

    Raises:
        MeasurementError: The mask is empty, or the spacing is not positive.
    """
    segments = smooth_outline(mask, spacing) if outline is None else outline
    points = segments.reshape(-1, 2)
    hull = points[cv2.convexHull(points.astype(np.float32), returnPoints=False)[:, 0]]
    steps = hull[:, None] - hull[None]
    distances = np.hypot(steps[..., 0], steps[..., 1])
    first, second = np.unravel_index(int(distances.argmax()), distances.shape)
    x, y = steps[first, second]
    angle, long = _smooth_long_axis(
        segments, math.atan2(y, x), float(distances[first, second]), spacing
    )
    short, _ = crest(_lengths(segments, angle + math.pi / 2), max(spacing))
    angle -= math.pi * math.floor(angle / math.pi + 0.5)
    ends = _longest_line(segments, angle), _longest_line(segments, angle + math.pi / 2)
    return Axes(long, min(short, long), angle, *ends)


def _smooth_long_axis(
    segments: Points, angle: float, length: float, spacing: Spacing
) -> tuple[float, float]:
    """The direction and the length of the long axis, from those of the longest distance."""
    pixel = max(spacing)
    smooth, fits = crest(_lengths(segments, angle), pixel)
    if not fits:
        return angle, length
    turns, lengths = [], []
    for turn in _TURNS:
        profile = _lengths(segments, angle + turn)
        if profile.max() >= length - pixel:
            turns.append(turn)
            lengths.append(crest(profile, pixel)[0])
    if len(turns) >= _LEAST_TURNS:
        curve, slope, _ = np.polyfit(turns, lengths, 2)
        turn = -slope / (2 * curve) if curve < 0 else turns[int(np.argmax(lengths))]
        angle += float(np.clip(turn, turns[0], turns[-1]))
        smooth, _ = crest(_lengths(segments, angle), pixel)
    return angle, smooth


def _lengths(segments: Points, angle: float) -> Points:
    """The distances between the outermost sides of segments [S, 2, 2] on lines of a direction, [K]."""
    _, low, high = _lines(segments, angle)
    return np.maximum(high - low, 0)


def _longest_line(segments: Points, angle: float) -> Ends:
    """The ends of the longest line of a direction between the outermost sides of segments [S, 2, 2]."""
    feet, low, high = _lines(segments, angle)
    longest = int((high - low).argmax())
    against = np.array([-math.cos(angle), -math.sin(angle)])
    first, second = (feet[longest] + side[longest] * against for side in (low, high))
    return (float(first[0]), float(first[1])), (float(second[0]), float(second[1]))


def _lines(segments: Points, angle: float) -> tuple[Points, Points, Points]:
    """Lines of a direction: a point of each, [K, 2], and where it meets the outermost sides of segments
    [S, 2, 2], measured from there against the direction."""
    across = np.array([math.cos(angle + math.pi / 2), math.sin(angle + math.pi / 2)])
    u = segments @ across
    start, step = float(u.min()), float(np.ptp(u)) / _POSITIONS
    low, high = sides(segments, across, step=step, start=start)
    return (start + step * np.arange(len(low)))[:, None] * across, low, high


def sides(
    segments: Points, along: npt.ArrayLike, *, step: float, start: float
) -> tuple[Points, Points]:
    """Where lines across a direction meet the outermost sides of an outline.

    Args:
        segments: [S, 2, 2] of (x, y).
        along: (x, y), of length 1; the lines are perpendicular to it.
        step: distance between two lines.
        start: position along the direction, from the origin, of a line; the others are at multiples of the
            step from it.

    Returns:
        The lowest and the highest position [K] across the direction, towards (-y, x), on each line that meets
        the outline, from the first to the last; infinite on a line between that meets none.
    """
    x, y = np.asarray(along, dtype=np.float64)
    u, v = segments @ (x, y) - start, segments @ (-y, x)
    # The positions, at multiples of the step, that each segment covers, and its height there.
    first = np.ceil(u.min(axis=1) / step).astype(int)
    counts = np.maximum(0, np.floor(u.max(axis=1) / step).astype(int) - first + 1)
    number = np.repeat(np.arange(len(u)), counts)
    rank = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    position = first[number] + rank
    run = (u[:, 1] - u[:, 0])[number]
    upright = np.abs(run) < 1e-9 * step
    share = np.where(upright, 0.0, (position * step - u[number, 0]) / np.where(upright, 1.0, run))
    height = v[number, 0] + share * (v[:, 1] - v[:, 0])[number]
    position -= position.min()
    low, high = np.full(position.max() + 1, np.inf), np.full(position.max() + 1, -np.inf)
    np.minimum.at(low, position, height)
    np.maximum.at(high, position, height)
    return low, high


def thickness(mask: BoolMask, spacing: Spacing = PIXELS) -> float:
    """Twice the distance of a mask's most interior point from its border: the diameter of its largest disc.

    A band of n rows is n thick; an oblique one appears up to a pixel thinner, as its border is a staircase.
    Holes are outside, and so is all that lies beyond the image. An empty mask has no thickness: 0.

    Args:
        mask: [H, W].
        spacing: distance between pixel centers (row, column); pixels need not be square.

    Raises:
        MeasurementError: The spacing is not positive.
        MissingDependencyError: The pixels are not square, and SciPy is not installed.
    """
    require_spacing(spacing)
    x0, y0, x1, y1 = bounding_box(mask).astype(int)
    if not x1:
        return 0.0
    grid = _half_pixel_grid(mask[y0:y1, x0:x1])
    half_row, half_column = spacing[0] / 2, spacing[1] / 2
    if half_row == half_column:
        depth = cv2.distanceTransform(grid, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) * half_row
    else:
        with needs("Measuring in pixels that are not square", extra="data"):
            from scipy.ndimage import distance_transform_edt
        depth = distance_transform_edt(grid, sampling=(half_row, half_column))
    return 2 * float(depth.max())


def _half_pixel_grid(mask: BoolMask) -> npt.NDArray[np.uint8]:
    """Centers, edges and corners of the pixels of a mask [H, W], [2 H + 1, 2 W + 1] uint8: 1 inside, 0 on
    the border or outside.

    With pixel centers alone, a band of two rows would be as thin as one of a single row.
    """
    padded = np.pad(mask, 1).astype(np.uint8)
    height, width = mask.shape
    grid = np.zeros((2 * height + 1, 2 * width + 1), np.uint8)
    grid[1::2, 1::2] = mask
    grid[1::2, ::2] = padded[1:-1, 1:] & padded[1:-1, :-1]
    grid[::2, 1::2] = padded[1:, 1:-1] & padded[:-1, 1:-1]
    corners = padded[1:, 1:] + padded[1:, :-1] + padded[:-1, 1:] + padded[:-1, :-1]
    grid[::2, ::2] = corners >= 3
    return grid
