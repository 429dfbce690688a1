"""What is measured on every mask that is written out: area, long and short axis."""

from __future__ import annotations

from dataclasses import replace

from ultrasam.images.mask_sequence import MaskSequence
from ultrasam.images.masks import BoolMask
from ultrasam.images.scan import Scan
from ultrasam.images.writing.segmentation import Code, Measurement
from ultrasam.measure.calibration import calibration_of
from ultrasam.measure.shape import area, long_and_short_axis

AREA = Code("42798000", "SCT", "Area")
LONG_AXIS = Code("103339001", "SCT", "Long Axis")
SHORT_AXIS = Code("103340004", "SCT", "Short Axis")


def mask_measurements(mask: BoolMask, scan: Scan) -> list[Measurement]:
    """Area, long and short axis of a mask [H, W] of a scan, in mm where it is calibrated, else in pixels;
    none of an empty mask."""
    if not mask.any():
        return []
    known = calibration_of(scan, mask)
    length, square = ("mm", "mm2") if known.calibrated else ("{pixels}", "{pixels2}")
    axes = long_and_short_axis(mask, known.spacing)
    return [
        Measurement("area", AREA, area(mask, known.spacing), square),
        Measurement("long axis", LONG_AXIS, axes.long, length),
        Measurement("short axis", SHORT_AXIS, axes.short, length),
    ]


def shape_measurements(masks: MaskSequence, scan: Scan) -> list[Measurement]:
    """The `mask_measurements` of each mask that is not empty.

    Args:
        masks: of N objects in the frames of the scan; its regions may differ in calibration.
    """
    return [
        replace(one, object=number, frame=frame)
        for frame in masks.frames
        for number, mask in enumerate(masks.masks(frame))
        for one in mask_measurements(mask, scan)
    ]
