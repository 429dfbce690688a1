"""Outlines of masks as polygons through the centers of their border pixels."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.images.masks import BoolMask

Points = npt.NDArray[np.float64]
_CORNERS = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])


def outlines(mask: BoolMask) -> list[Points]:
    """The outer outlines of a mask's parts, each [K, 2] of (x, y) in pixels, K ≥ 3, largest part first.

    They are not closed: the last point is not the first. Holes are left out. A part that is one pixel wide is
    outlined by the hull of its pixels' corners.
    """
    contours, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    found: list[Points] = []
    for contour in sorted(contours, key=cv2.contourArea, reverse=True):
        outline = contour[:, 0].astype(np.float64) + 0.5
        if len(outline) < 3:
            corners = (outline[:, None] + _CORNERS).reshape(-1, 2).astype(np.float32)
            outline = cv2.convexHull(corners)[:, 0].astype(np.float64)
        found.append(outline)
    return found
