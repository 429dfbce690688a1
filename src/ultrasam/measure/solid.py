"""Volumes of solid organs and lesions from their axes in two planes at right angles.

All are length × width × height × a factor; the factor of an ellipsoid is π/6. A plane's mask gives its axes
as callipers measure them (`ultrasam.measure.shape.long_and_short_axis`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ultrasam.measure.outline import BoolMask, Spacing
from ultrasam.measure.shape import long_and_short_axis

ELLIPSOID = math.pi / 6
# Brunn, Block, Ruf, Bos, Kunze and Scriba 1981, Dtsch Med Wochenschr 106:1338: the factor that suits lobes
# measured at autopsy; an ellipsoid's makes them too large.
THYROID_LOBE = 0.479
# Turkbey et al. 2019, Eur Urol 76:340 (PI-RADS 2.1): the ellipsoid's, written as 0.52.
PROSTATE = ELLIPSOID
# No factor suits all bladders: Kuzmić, Brkljačić and Ivanković 2003, Pediatr Radiol 33:530, found 0.56
# (round) to 0.92 (cuboid) in children, 0.66 over all.
BLADDER = ELLIPSOID


@dataclass(frozen=True, slots=True)
class SolidAxes:
    """The three axes of a solid, at right angles to each other, in the spacing's unit.

    Attributes:
        length, width, height: see `organ_axes` and `lesion_axes`.
    """

    length: float
    width: float
    height: float

    def volume(self, factor: float = ELLIPSOID) -> float:
        """Length × width × height × factor, in the cube of the axes' unit."""
        return self.length * self.width * self.height * factor


def organ_axes(
    sagittal: BoolMask,
    transverse: BoolMask,
    *,
    sagittal_spacing: Spacing,
    transverse_spacing: Spacing,
) -> SolidAxes:
    """The axes of a prostate, a bladder or a thyroid lobe.

    The length (craniocaudal) is the long axis of the sagittal plane. The width is the axis of the transverse
    plane that is closer to the horizontal, the height (anteroposterior) the other one.

    Args:
        sagittal, transverse: masks [H, W] of the two planes.
        sagittal_spacing, transverse_spacing: (row, column) of each, in the same unit.

    Raises:
        MeasurementError: A mask is empty, or a spacing is not positive.
    """
    across = long_and_short_axis(transverse, transverse_spacing)
    level = abs(across.angle) <= math.pi / 4
    width, height = (across.long, across.short) if level else (across.short, across.long)
    return SolidAxes(long_and_short_axis(sagittal, sagittal_spacing).long, width, height)


def lesion_axes(
    first: BoolMask, second: BoolMask, *, first_spacing: Spacing, second_spacing: Spacing
) -> SolidAxes:
    """The axes of a lesion in two planes at right angles that both hold the beam's direction.

    Length and height are the long and the short axis of the first plane, whichever way they point (the
    longest axis and the one perpendicular to it: ACR BI-RADS Ultrasound 2013). The width is the axis of the
    second plane that is closer to the horizontal, which is perpendicular to the first plane.

    Args:
        first, second: masks [H, W] of the two planes.
        first_spacing, second_spacing: (row, column) of each, in the same unit.

    Raises:
        MeasurementError: A mask is empty, or a spacing is not positive.
    """
    along = long_and_short_axis(first, first_spacing)
    across = long_and_short_axis(second, second_spacing)
    level = abs(across.angle) <= math.pi / 4
    return SolidAxes(along.long, across.long if level else across.short, along.short)
