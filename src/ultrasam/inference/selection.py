"""Choose the masks that a prompt gets among its candidates, and put them into the scan's pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ultrasam.geometry import ViewTransform
from ultrasam.inference.augmentation import MeanPrediction
from ultrasam.prompts import Float32, Prediction


def best_masks(
    predictions: Sequence[MeanPrediction],
    masks_each: int,
    full: ViewTransform,
    *,
    size: int,
    cleaned: Sequence[Callable[[Float32], Float32]],
) -> Prediction:
    """The best masks of N prompts.

    Args:
        masks_each: M, how many each prompt gets.
        full: the view of the whole frame.
        size: side S of low-res logits.
        cleaned: of each prompt, a function that removes from logits [H, W] what cannot belong to its object.
    """
    shape = (len(predictions), masks_each)
    masks = np.zeros((*shape, full.height, full.width), dtype=bool)
    stability = np.zeros(shape, dtype=np.float32)
    low_res = np.zeros((*shape, size, size), dtype=np.float32)
    iou = np.zeros(shape, dtype=np.float32)
    for i, prediction in enumerate(predictions):
        for j, (candidate, raw) in enumerate(best_first(prediction, masks_each)):
            logits = cleaned[i](raw)
            masks[i, j] = logits > 0
            if masks[i, j].any():
                iou[i, j] = np.clip(prediction.predicted_iou[candidate], 0, 1)
            stability[i, j] = (logits > 1).sum() / max(1, int((logits > -1).sum()))
            low_res[i, j] = prediction.low_res(candidate, full, logits)
    return Prediction(masks, iou, stability, low_res)


def best_first(prediction: MeanPrediction, count: int) -> list[tuple[int, Float32]]:
    """Indices of the best ``count`` masks by predicted IoU, those that are empty last, with their logits in
    the scan."""
    found: list[tuple[int, Float32]] = []
    empty: list[tuple[int, Float32]] = []
    for candidate in np.argsort(-prediction.predicted_iou, kind="stable").tolist():
        logits = prediction.in_scan(candidate)
        (found if (logits > 0).any() else empty).append((candidate, logits))
        if len(found) == count:
            break
    return [*found, *empty][:count]
