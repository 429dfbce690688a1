"""How well one mask agrees with another, and how sure a mean of such figures is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

BoolMask = npt.NDArray[np.bool_]


def dice(mask: BoolMask, truth: BoolMask) -> float:
    """2 |A ∩ B| / (|A| + |B|) (Dice 1945); 1 where both are empty."""
    total = int(mask.sum()) + int(truth.sum())
    return 2 * int((mask & truth).sum()) / total if total else 1.0


def iou(mask: BoolMask, truth: BoolMask) -> float:
    """|A ∩ B| / |A ∪ B| (Jaccard 1901); 1 where both are empty."""
    union = int((mask | truth).sum())
    return int((mask & truth).sum()) / union if union else 1.0


def bootstrap_interval(
    values: Sequence[float],
    groups: Sequence[str],
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of the mean of ``values``, drawing whole groups (subjects) with replacement.

    Values of one subject are not independent, so subjects are drawn, not values (Efron and Tibshirani
    1993, chapter 8).
    """
    if not values:
        return (float("nan"), float("nan"))
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.bincount(index, weights=np.asarray(values, dtype=float), minlength=len(names))
    counts = np.bincount(index, minlength=len(names))
    picks = np.random.default_rng(seed).integers(len(names), size=(draws, len(names)))
    means = sums[picks].sum(axis=1) / counts[picks].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
