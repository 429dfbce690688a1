"""Does a model choose the best of the masks that it predicts for a prompt?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ultrasam.evaluation.metrics.statistics import Estimate

Floats = npt.NDArray[np.float64]
_ROUNDING = 2e-5  # both values are stored with five digits


@dataclass(frozen=True, slots=True)
class MaskChoice:
    """The chosen mask against the best of the candidates, over the objects that have candidates.

    Attributes:
        right: share of objects whose chosen mask is the best.
        chosen, best: mean IoU of the chosen masks and of the best ones.
        loss: mean of best minus chosen.
        objects: number of objects with candidates.
    """

    right: Estimate
    chosen: Estimate
    best: Estimate
    loss: Estimate
    objects: int


def mask_choice(
    ious: Sequence[float] | Floats,
    best_ious: Sequence[float | None] | Floats,
    groups: Sequence[str],
) -> MaskChoice | None:
    """Compare the chosen masks with the best candidates; None if no object has candidates.

    Args:
        ious: of the chosen masks.
        best_ious: of the best candidates; None or NaN where a model has no candidates.
        groups: the subjects.
    """
    best = np.array([np.nan if value is None else value for value in best_ious], dtype=np.float64)
    has = np.isfinite(best)
    if not has.any():
        return None
    chosen, best = np.asarray(ious, dtype=np.float64)[has], best[has]
    subjects = [group for group, keep in zip(groups, has, strict=True) if keep]
    right = (chosen >= best - _ROUNDING).astype(np.float64)
    return MaskChoice(
        Estimate.of_mean(right, subjects),
        Estimate.of_mean(chosen, subjects),
        Estimate.of_mean(best, subjects),
        Estimate.of_mean(best - chosen, subjects),
        len(best),
    )
