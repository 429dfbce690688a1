"""Masks as regions of Label Studio: a brush, polygons or rectangles, in per cent of the picture."""

from __future__ import annotations

import secrets
from typing import Any

import cv2
import numpy as np

from ultrasam.annotate.protocols.brush_rle import encode
from ultrasam.annotate.protocols.label_studio.labeling_config import Control
from ultrasam.images.masks import BoolMask, bounding_box
from ultrasam.images.writing.outlines import outlines

_TOLERANCE = 0.5  # of a polygon, in pixels
_SMALLEST_PART = 0.02  # of the largest part of a mask


def regions_of(
    mask: BoolMask, control: Control, label: str | None, score: float
) -> list[dict[str, Any]]:
    """The regions of one mask [H, W]: one brush or rectangle, or a polygon for each part of the mask.

    Parts of less than a fiftieth of the largest get no polygon, and polygons have no holes.

    Args:
        control: that takes them.
        label: of the object; its first label if None.
        score: from 0 to 1.
    """
    height, width = mask.shape
    if control.shape == "brush":
        values: list[dict[str, Any]] = [{"format": "rle", "rle": list(encode(mask))}]
    elif control.shape == "polygon":
        values = [{"points": points, "closed": True} for points in _polygons(mask)]
    else:
        x0, y0, x1, y1 = (float(v) for v in bounding_box(mask))
        values = [
            {
                "x": 100 * x0 / width, "y": 100 * y0 / height, "width": 100 * (x1 - x0) / width,
                "height": 100 * (y1 - y0) / height, "rotation": 0,
            }
        ]  # fmt: skip
    named = label if label is not None else next(iter(control.labels), None)
    labels = {control.type: [named]} if control.labels and named is not None else {}
    return [
        {
            "id": secrets.token_hex(5), "from_name": control.name, "to_name": control.image,
            "type": control.type, "original_width": width, "original_height": height,
            "image_rotation": 0, "value": {**value, **labels}, "score": score, "readonly": False,
        }
        for value in values
    ]  # fmt: skip


def _polygons(mask: BoolMask) -> list[list[list[float]]]:
    height, width = mask.shape
    lines = outlines(mask)
    areas = [abs(cv2.contourArea(line.astype(np.float32))) for line in lines]
    found = []
    for line, area in zip(lines, areas, strict=True):
        if area < _SMALLEST_PART * max(areas):
            continue
        simple = cv2.approxPolyDP(line.astype(np.float32)[:, None], _TOLERANCE, True)[:, 0]
        points = simple if len(simple) >= 3 else line
        found.append((points * (100 / width, 100 / height)).round(4).tolist())
    return found
