"""What is measured on every mask that is written out: area, long and short axis."""

from __future__ import annotations

from ultrasam.images.mask_sequence import MaskSequence
from ultrasam.images.writing.segmentation import Code, Measurement
from ultrasam.measure.outline import PIXELS, Spacing
from ultrasam.measure.shape import area, long_and_short_axis

AREA = Code("42798000", "SCT", "Area")
LONG_AXIS = Code("103339001", "SCT", "Long Axis")
SHORT_AXIS = Code("103340004", "SCT", "Short Axis")


def shape_measurements(masks: MaskSequence, spacing: Spacing | None) -> list[Measurement]:
    """Area, long and short axis of each mask that is not empty.

    Args:
        masks: of N objects.
        spacing: (row, column) in mm, valid for the whole frame; None if unknown: numbers are then in pixels.
    """
    length, square = ("mm", "mm2") if spacing else ("{pixels}", "{pixels2}")
    found = []
    for frame in masks.frames:
        for number, mask in enumerate(masks.masks(frame)):
            if not mask.any():
                continue
            axes = long_and_short_axis(mask, spacing or PIXELS)
            values = (
                ("area", AREA, area(mask, spacing or PIXELS), square),
                ("long axis", LONG_AXIS, axes.long, length),
                ("short axis", SHORT_AXIS, axes.short, length),
            )
            found += [
                Measurement(name, code, value, unit, number, frame)
                for name, code, value, unit in values
            ]
    return found
