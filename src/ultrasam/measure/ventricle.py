"""The volume of a ventricle by the method of discs (Simpson's rule), from one or two apical views."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ultrasam.errors import MeasurementError
from ultrasam.measure.ellipse import equivalent_ellipse
from ultrasam.measure.outline import (
    PIXELS,
    BoolMask,
    Spacing,
    largest_part,
    require_spacing,
    smooth_segments,
)
from ultrasam.measure.shape import sides

DISCS = 20


@dataclass(frozen=True, slots=True, eq=False)
class Discs:
    """A cavity cut into discs of equal height across its long axis.

    Attributes:
        length: of the long axis, in the spacing's unit.
        diameters: [K] of the discs, from the apex to the base.
    """

    length: float
    diameters: npt.NDArray[np.float64]


def discs(mask: BoolMask, spacing: Spacing = PIXELS, *, count: int = DISCS) -> Discs:
    """Cut the largest part of a mask into discs.

    The long axis is the principal axis of the mask, from border to border; nothing in a mask of the cavity
    alone marks the mitral annulus, to whose middle echocardiographers draw it. A disc's diameter is the
    distance of the borders across the axis at half its height. The base is the end with the wider half.

    Args:
        mask: [H, W], the cavity.
        spacing: distance between pixel centers (row, column); pixels need not be square.
        count: K, the number of discs.

    Raises:
        MeasurementError: The mask is empty or too small to be cut, or the spacing is not positive.
    """
    require_spacing(spacing)
    part = largest_part(mask)
    angle = equivalent_ellipse(part, spacing).angle
    along = (math.cos(angle), math.sin(angle))
    segments = smooth_segments(part, spacing)
    positions = segments @ along
    length = float(np.ptp(positions))
    if length < count * min(spacing):
        raise MeasurementError(
            f"The cavity is shorter than {count} pixels; it cannot be cut into {count} discs."
        )
    height = length / count
    low, high = sides(segments, along, step=height, start=float(positions.min()) + height / 2)
    diameters = high - low
    half = count // 2
    if diameters[:half].sum() > diameters[-half:].sum():
        diameters = diameters[::-1]
    return Discs(length, diameters)


def single_plane_volume(view: Discs) -> float:
    """π / 4 × the sum of the diameters squared × the height of a disc: the volume if all cuts across the axis
    are circles (Schiller et al. 1989, J Am Soc Echocardiogr 2:358), in the cube of the spacing's unit."""
    return biplane_volume(view, view)


def biplane_volume(first: Discs, second: Discs) -> float:
    """π / 4 × the sum over the discs of both views' diameters multiplied × the height of a disc, of the
    longer long axis: the volume if all cuts are ellipses (Schiller et al. 1989; Lang et al. 2015, J Am Soc
    Echocardiogr 28:1), in the cube of the spacing's unit.

    Raises:
        MeasurementError: The views have different numbers of discs.
    """
    if len(first.diameters) != len(second.diameters):
        raise MeasurementError(
            f"One view has {len(first.diameters)} discs, the other {len(second.diameters)}; cut both alike."
        )
    height = max(first.length, second.length) / len(first.diameters)
    return math.pi / 4 * float(first.diameters @ second.diameters) * height


def ejection_fraction(end_diastolic: float, end_systolic: float) -> float:
    """100 × (EDV - ESV) / EDV, in percent (Lang et al. 2015).

    Raises:
        MeasurementError: The end-diastolic volume is not positive.
    """
    if end_diastolic <= 0:
        raise MeasurementError(
            f"The end-diastolic volume is {end_diastolic:g}; it must be positive."
        )
    return 100 * (end_diastolic - end_systolic) / end_diastolic
