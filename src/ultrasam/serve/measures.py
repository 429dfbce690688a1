"""Measures of a mask as JSON: area, perimeter and axes, in mm where its place in the scan is calibrated."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import numpy as np

from ultrasam.errors import MeasurementError
from ultrasam.images.masks import BoolMask
from ultrasam.images.rle import decode
from ultrasam.images.scan import Scan

Json = dict[str, Any]


def measured_json(rle: str, scan: Scan) -> Json:
    """Area, perimeter and axes of a mask, in mm where its place in the scan is calibrated; the axes' ends are
    in pixels of the frame.

    Args:
        rle: COCO's compressed RLE of the mask, [H, W] as the scan.
    """
    regions = tuple((region.box, region.spacing, region.kind) for region in scan.regions)
    found: Json = json.loads(
        _measured(rle, (scan.height, scan.width), scan.spacing, regions, str(scan.source))
    )  # a copy for each caller
    return found


@lru_cache(maxsize=8)
def decoded(rle: str, shape: tuple[int, int]) -> BoolMask:
    """A mask that is sent and measured in turn, or again at once; it must not be changed."""
    mask = decode(rle, shape)
    mask.flags.writeable = False
    return mask


@lru_cache(maxsize=4096)
def _measured(
    rle: str,
    shape: tuple[int, int],
    spacing: tuple[float, float] | None,
    regions: tuple[Any, ...],
    _source: str,
) -> str:
    from ultrasam.images.regions import Region
    from ultrasam.measure.calibration import calibration_of
    from ultrasam.measure.quantities import Measurement, Quantity
    from ultrasam.measure.shape import area, long_and_short_axis, perimeter, smooth_outline

    mask = decoded(rle, shape)
    like = Scan(
        1, *shape, False, lambda _: np.zeros(shape, np.uint8), spacing,
        regions=tuple(Region(*one) for one in regions),
    )  # fmt: skip
    calibration = calibration_of(like, mask)
    try:
        outline = smooth_outline(mask, calibration.spacing)
        axes = long_and_short_axis(mask, calibration.spacing, outline=outline)
        quantities = {
            "area": Quantity("area", area(mask, calibration.spacing), "area"),
            "perimeter": Quantity(
                "perimeter", perimeter(mask, calibration.spacing, outline=outline)
            ),
            "long_axis": Quantity("long axis", axes.long),
            "short_axis": Quantity("short axis", axes.short),
        }
    except MeasurementError as error:
        names = ("area", "perimeter", "long_axis", "short_axis")
        return json.dumps({**dict.fromkeys(names), "why": str(error)})
    found: Json = {}
    for name, quantity in quantities.items():
        number = Measurement.of(quantity, calibrated=calibration.calibrated).as_json()
        found[name] = {key: number[key] for key in ("value", "unit", "low", "high")}
    row, column = calibration.spacing
    for name, ends in (("long_axis", axes.long_ends), ("short_axis", axes.short_ends)):
        found[name]["ends"] = ends and [[round(x / column, 2), round(y / row, 2)] for x, y in ends]
    found["why"] = None if calibration.calibrated else f"not calibrated: {calibration.note}"
    return json.dumps(found)
