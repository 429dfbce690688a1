"""What is measured on every mask that is written out: area, long and short axis."""

from __future__ import annotations

from ultrasam.images.mask_sequence import MaskSequence
from ultrasam.images.scan import Scan
from ultrasam.images.writing.segmentation import Code, Measurement
from ultrasam.measure.calibration import calibration_of
from ultrasam.measure.shape import area, long_and_short_axis

AREA = Code("42798000", "SCT", "Area")
LONG_AXIS = Code("103339001", "SCT", "Long Axis")
SHORT_AXIS = Code("103340004", "SCT", "Short Axis")


def shape_measurements(masks: MaskSequence, scan: Scan) -> list[Measurement]:
    """Area, long and short axis of each mask that is not empty, in mm where it is calibrated, else in pixels.

    Args:
        masks: of N objects in the frames of the scan; its regions may differ in calibration.
    """
    found = []
    for frame in masks.frames:
        for number, mask in enumerate(masks.masks(frame)):
            if not mask.any():
                continue
            known = calibration_of(scan, mask)
            length, square = ("mm", "mm2") if known.calibrated else ("{pixels}", "{pixels2}")
            axes = long_and_short_axis(mask, known.spacing)
            values = (
                ("area", AREA, area(mask, known.spacing), square),
                ("long axis", LONG_AXIS, axes.long, length),
                ("short axis", SHORT_AXIS, axes.short, length),
            )
            found += [
                Measurement(name, code, value, unit, number, frame)
                for name, code, value, unit in values
            ]
    return found
