"""Remove from a mask what cannot belong to the prompted object, as a model's `Postprocessor` says."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.prompts import FOREGROUND, Float32, Prompt

BoolMask = npt.NDArray[np.bool_]


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
