"""Which spacing holds where a mask lies: lengths are in mm only within one calibrated region of a scan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy.typing as npt

from ultrasam.images.masks import BoolMask, bounding_box
from ultrasam.images.regions import Region, same_spacing
from ultrasam.images.scan import Scan
from ultrasam.measure.outline import PIXELS, Spacing, require_spacing


@dataclass(frozen=True, slots=True)
class Calibration:
    """The spacing that holds for a mask, or why there is none.

    Attributes:
        spacing: (row, column) distance between pixel centers: in mm if ``calibrated``, else 1 × 1.
        calibrated: whether lengths are in mm.
        note: where the spacing is from, or why lengths are in pixels; the end of a sentence.
        box: x0, y0, x1, y1 of the region of the scan that it holds for; None for the whole image.
    """

    spacing: Spacing
    calibrated: bool
    note: str
    box: tuple[int, int, int, int] | None = None


def calibration_of(scan: Scan, mask: BoolMask, *, spacing: Spacing | None = None) -> Calibration:
    """The calibration that holds for a mask [H, W] of a scan.

    A mask is calibrated if it lies within one two-dimensional region, or within several of the same spacing
    that overlap there (DICOM PS3.3 C.8.5.5.1.3: a distance can be measured between two points of one region).

    Args:
        spacing: (row, column) in mm, if the user states it; it then holds for the whole image.

    Raises:
        MeasurementError: The stated spacing is not positive.
    """
    if spacing is not None:
        require_spacing(spacing)
        return Calibration(spacing, True, "as stated")
    if scan.regions and mask.any():
        return _of_regions(scan.regions, bounding_box(mask))
    if scan.spacing is None:
        return _pixels("the file states no pixel spacing")
    return Calibration(scan.spacing, True, "of the file")


def _of_regions(regions: tuple[Region, ...], box: npt.ArrayLike) -> Calibration:
    met = [(number, region) for number, region in enumerate(regions, 1) if region.meets(box)]
    around = [(number, region) for number, region in met if region.holds(box)]
    calibrated = [(number, region) for number, region in around if region.spacing is not None]
    if calibrated:
        number, region = calibrated[0]
        other = next(
            (n for n, r in calibrated if not same_spacing(region.spacing, r.spacing)), None
        )
        if other is not None:
            return _pixels(
                f"it lies in the ultrasound regions {number} and {other}, which differ in spacing"
            )
        assert region.spacing is not None
        return Calibration(region.spacing, True, f"of ultrasound region {number}", region.box)
    if around:
        number, region = around[0]
        what = "has no calibration in mm" if region.kind == "2-D" else f"shows {region.kind}"
        return _pixels(f"it lies in ultrasound region {number}, which {what}")
    if not met:
        return _pixels("it lies outside the ultrasound regions that the file calibrates")
    if len(met) > 1:
        listed = " and ".join(str(number) for number, _ in met)
        return _pixels(f"it reaches over the ultrasound regions {listed}")
    number, region = met[0]
    edges = ", ".join(str(v) for v in region.box)
    return _pixels(f"it reaches beyond ultrasound region {number} ({edges})")


def _pixels(why: str) -> Calibration:
    return Calibration(PIXELS, False, why)
