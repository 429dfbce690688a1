"""The diameter of a vessel and the thickness of its wall, from masks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ultrasam.errors import MeasurementError
from ultrasam.measure.ellipse import equivalent_ellipse
from ultrasam.measure.outline import (
    PIXELS,
    BoolMask,
    Points,
    Spacing,
    largest_part,
    require_spacing,
    smooth_segments,
)
from ultrasam.measure.shape import area, sides

_LEAST_RATIO = 2.0  # of length to thickness
_END = 0.6  # of the thickness, left out at each end: enough for one that is cut off at 30°


@dataclass(frozen=True, slots=True)
class BandThickness:
    """The thickness of a band along its length, in the spacing's unit.

    Attributes:
        mean, smallest, largest: of the distances between its two sides.
        length: of the band where it was measured, along its axis.
    """

    mean: float
    smallest: float
    largest: float
    length: float


def band_thickness(mask: BoolMask, spacing: Spacing = PIXELS) -> BandThickness:
    """The thickness of a mask's largest part that is a band: the lumen of a vessel seen along its course, or
    the intima-media complex of its wall.

    It is the polyline distance of the band's two sides (Suri, Haralick and Sheehan 2000, Pattern Anal Appl
    3:39): for points on each side, the distance to the nearest point of the other. It is right for oblique
    and for bent bands. At each end, 0.6 of the thickness is left out, where the border closes or the image
    cuts it off.

    The consensus asks for the mean and the maximum of the intima-media thickness over 10 mm of the far wall,
    free of plaque (Touboul et al. 2012, Cerebrovasc Dis 34:290); the mask must be drawn there.

    Args:
        mask: [H, W].
        spacing: distance between pixel centers (row, column); pixels need not be square.

    Raises:
        MeasurementError: The mask is empty or not at least twice as long as thick, or the spacing is not
            positive.
    """
    require_spacing(spacing)
    part = largest_part(mask)
    ellipse = equivalent_ellipse(part, spacing)
    if ellipse.semi_major < _LEAST_RATIO * ellipse.semi_minor:
        raise MeasurementError(
            "The mask is not a band: it is less than twice as long as thick. Measure a vessel cut across as "
            "vessel-transverse."
        )
    along = (math.cos(ellipse.angle), math.sin(ellipse.angle))
    segments = smooth_segments(part, spacing)
    positions = segments @ along
    start, end = float(positions.min()), float(positions.max())
    step = min(spacing)
    low, high = sides(segments, along, step=step, start=start + step / 2)
    u = start + step / 2 + step * np.arange(len(low))
    margin = _END * float(np.median(high - low)) + 3 * step
    inner = (u >= start + margin) & (u <= end - margin)
    lower, upper = np.stack([u, low], axis=1)[inner], np.stack([u, high], axis=1)[inner]
    distances = [*_distances(lower, upper), *_distances(upper, lower)] if len(lower) > 1 else []
    if not distances:
        raise MeasurementError("The band is too short to be measured; draw it longer.")
    return BandThickness(
        float(np.mean(distances)), min(distances), max(distances), float(np.ptp(u[inner]))
    )


def _distances(points: Points, line: Points) -> list[float]:
    """The distances of points [K, 2] to a polyline [L, 2], of those that are beside it, not beyond an end."""
    start, run = line[:-1], np.diff(line, axis=0)
    lengths = (run**2).sum(axis=1)
    found = []
    for point in points:
        share = np.clip(((point - start) * run).sum(axis=1) / lengths, 0, 1)
        squares = ((start + share[:, None] * run - point) ** 2).sum(axis=1)
        nearest = int(squares.argmin())
        if nearest + share[nearest] not in (0, len(run)):
            found.append(math.sqrt(float(squares[nearest])))
    return found


def round_diameter(mask: BoolMask, spacing: Spacing = PIXELS) -> float:
    """The diameter of the circle with the area A of a mask's largest part, 2 √(A / π): the mean diameter of a
    vessel that is cut across.

    Raises:
        MeasurementError: The mask is empty, or the spacing is not positive.
    """
    return 2 * math.sqrt(area(largest_part(mask), spacing) / math.pi)
