"""Remove from a mask what cannot belong to the prompted object, as a model's `Postprocessor` says."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ultrasam.images.pixels import BLACK
from ultrasam.morphology import (
    bounding_box,
    close,
    convex_hull,
    dilate,
    fill_holes,
    label_components,
    largest_component,
    local_mean,
    open_,
)
from ultrasam.prompts import FOREGROUND, Float32, Prompt

BoolMask = npt.NDArray[np.bool_]
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
    lit = local_mean(gray, 5) > BLACK
    opened = open_(close(lit, 4), 4)  # closing joins speckle; opening detaches text and marks
    if not opened.any():
        return None
    scan = fill_holes(largest_component(opened))
    inside = dilate(convex_hull(scan), 2)
    if (~inside).mean() < _MIN_AROUND or scan.mean() < _MIN_AROUND:
        return None
    return inside


def clicks_are_inside(area: BoolMask, prompt: Prompt) -> bool:
    """Whether all foreground clicks lie in an area [H, W]; if one does not, it is not that of the scan."""
    return bool(area[_clicked(prompt, area.shape)].all())


def clicked_pieces(mask: BoolMask, prompt: Prompt) -> BoolMask:
    """Of a mask [H, W], the 8-connected pieces that hold a foreground click; all, if none does."""
    x0, y0, x1, y1 = bounding_box(mask).astype(int)
    count, pieces = label_components(mask[y0:y1, x0:x1])
    if count <= 2:
        return mask
    rows, columns = _clicked(prompt, mask.shape)
    hits = mask[rows, columns]
    if not hits.any():
        return mask
    held = np.zeros(count, bool)
    held[pieces[rows[hits] - y0, columns[hits] - x0]] = True
    kept = np.zeros(mask.shape, bool)
    kept[y0:y1, x0:x1] = held[pieces]
    return kept


def _clicked(
    prompt: Prompt, shape: tuple[int, ...]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows and columns of the pixels under the foreground clicks."""
    clicks = np.floor(prompt.points[prompt.labels == FOREGROUND]).astype(np.intp)
    return np.clip(clicks[:, 1], 0, shape[0] - 1), np.clip(clicks[:, 0], 0, shape[1] - 1)


def without(logits: Float32, kept: BoolMask) -> Float32:
    """Logits [H, W] whose mask is only what is kept."""
    lost = (logits > 0) & ~kept
    changed = logits.copy()
    np.negative(logits, out=changed, where=lost)
    return changed
