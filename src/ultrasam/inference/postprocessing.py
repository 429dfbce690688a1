"""Remove from a mask what cannot belong to the prompted object, as a model's `Postprocessor` says."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.images.masks import fill_holes, largest_component
from ultrasam.prompts import FOREGROUND, Float32, Prompt

BoolMask = npt.NDArray[np.bool_]
_BLACK = 6  # up to this gray value a pixel may be black that JPEG has changed
_MIN_AROUND = (
    0.02  # share of the image that must be black around the scan, or there is nothing to remove
)


def scanned_area(pixels: npt.NDArray[np.uint8]) -> BoolMask | None:
    """Where an image [H, W] or [H, W, 3] shows a scan, [H, W]: the convex hull of its largest part that is
    not black.

    Returns:
        None if hardly anything is black around it.
    """
    gray = pixels if pixels.ndim == 2 else pixels.max(axis=2)
    lit = cv2.blur(gray, (5, 5)) > _BLACK
    kernel = np.ones((5, 5), np.uint8)
    # Opening detaches text and marks; closing joins speckle.
    joined = cv2.morphologyEx(lit.astype(np.uint8), cv2.MORPH_CLOSE, kernel, iterations=2)
    opened = cv2.morphologyEx(joined, cv2.MORPH_OPEN, kernel, iterations=2).astype(bool)
    if not opened.any():
        return None
    scan = fill_holes(largest_component(opened))
    contours, _ = cv2.findContours(scan.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = np.zeros(scan.shape, np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(np.concatenate(contours)), 1)
    inside = cv2.dilate(hull, kernel) > 0
    if (~inside).mean() < _MIN_AROUND or scan.mean() < _MIN_AROUND:
        return None
    return np.asarray(inside)


def clicked_pieces(mask: BoolMask, prompt: Prompt) -> BoolMask:
    """Of a mask [H, W], the 8-connected pieces that hold a foreground click; all, if none does."""
    count, pieces = cv2.connectedComponents(mask.astype(np.uint8))
    if count <= 2:
        return mask
    height, width = mask.shape
    clicks = np.floor(prompt.points[prompt.labels == FOREGROUND]).astype(int)
    x, y = np.clip(clicks[:, 0], 0, width - 1), np.clip(clicks[:, 1], 0, height - 1)
    held = np.setdiff1d(pieces[y, x], [0])
    return np.asarray(np.isin(pieces, held)) if len(held) else mask


def without(logits: Float32, kept: BoolMask) -> Float32:
    """Logits [H, W] whose mask is only what is kept."""
    return np.where((logits > 0) & ~kept, -logits, logits)
