"""Choose the masks that a prompt gets among its candidates, and put them into the scan's pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ultrasam.geometry import ViewTransform
from ultrasam.inference.augmentation import MeanPrediction
from ultrasam.prompts import Float32, Prediction

_STEP = 1e-4  # the difference in predicted IoU that four digits show


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One of the masks that a prompt may get.

    Attributes:
        prediction, index: the prediction, and which of its masks.
        at_most: limit of the predicted IoU, which keeps the mask behind one that is preferred to it.
    """

    prediction: MeanPrediction
    index: int
    at_most: float = math.inf

    @property
    def predicted_iou(self) -> float:
        return min(float(self.prediction.predicted_iou[self.index]), self.at_most)

    def in_scan(self) -> Float32:
        """Its logits in the scan's pixels, [H, W]."""
        return self.prediction.in_scan(self.index)


def candidates_of(prediction: MeanPrediction) -> list[Candidate]:
    """All masks of a prediction."""
    return [Candidate(prediction, i) for i in range(len(prediction.predicted_iou))]


def in_order(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates with predicted IoU that fall from one to the next, so that the best stays the best in
    any order."""
    ordered: list[Candidate] = []
    for candidate in candidates:
        limit = ordered[-1].predicted_iou - _STEP if ordered else math.inf
        ordered.append(replace(candidate, at_most=limit))
    return ordered


def best_masks(
    candidates: Sequence[Sequence[Candidate]],
    masks_each: int,
    full: ViewTransform,
    *,
    size: int,
    cleaned: Sequence[Callable[[Float32], Float32]],
    levels: Sequence[float] = (),
) -> Prediction:
    """The best masks of N prompts.

    Args:
        candidates: of each prompt.
        masks_each: M, how many each prompt gets.
        full: the view of the whole frame.
        size: side S of low-res logits.
        cleaned: of each prompt, a function that removes from logits [H, W] what cannot belong to its object.
        levels: probabilities at which the masks are wanted, too.
    """
    shape = (len(candidates), masks_each)
    masks = np.zeros((*shape, full.height, full.width), dtype=bool)
    stability = np.zeros(shape, dtype=np.float32)
    low_res = np.zeros((*shape, size, size), dtype=np.float32)
    iou = np.zeros(shape, dtype=np.float32)
    at_levels = np.zeros((len(levels), *masks.shape), dtype=bool)
    for i, offered in enumerate(candidates):
        for j, (candidate, raw) in enumerate(best_first(offered, masks_each)):
            logits = cleaned[i](raw)
            masks[i, j] = logits > 0
            if masks[i, j].any():
                iou[i, j] = np.clip(candidate.predicted_iou, 0, 1)
            stability[i, j] = np.count_nonzero(logits > 1) / max(
                1, int(np.count_nonzero(logits > -1))
            )
            low_res[i, j] = candidate.prediction.low_res(candidate.index, full, logits)
            for at, level in zip(at_levels, levels, strict=True):
                threshold = np.float32(math.log(level / (1 - level)))
                at[i, j] = cleaned[i](raw - threshold) > 0
    return Prediction(masks, iou, stability, low_res, at_levels if levels else None)


def best_first(candidates: Sequence[Candidate], count: int) -> list[tuple[Candidate, Float32]]:
    """The best ``count`` candidates by predicted IoU, those that are empty last, with their logits in the
    scan."""
    found: list[tuple[Candidate, Float32]] = []
    empty: list[tuple[Candidate, Float32]] = []
    for candidate in sorted(candidates, key=lambda c: -c.predicted_iou):
        logits = candidate.in_scan()
        (found if (logits > 0).any() else empty).append((candidate, logits))
        if len(found) == count:
            break
    return [*found, *empty][:count]
