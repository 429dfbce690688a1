"""Uncertainty of means and differences between models, by subject."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ultrasam.extras import needs

Floats = npt.NDArray[np.float64]
N_RESAMPLES = 2000


def bootstrap_means(
    values: Sequence[float] | Floats,
    groups: Sequence[str],
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Floats:
    """Bootstrap means [n_resamples] of ``values``, resampled by whole groups (subjects).

    Values of one subject are not independent, so subjects are resampled, not values (Efron and Tibshirani
    1993, chapter 8). A single subject says nothing about how subjects vary: the means are then NaN.
    """
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        return np.full(n_resamples, np.nan)
    sums = np.bincount(index, weights=np.asarray(values, dtype=float), minlength=len(names))
    counts = np.bincount(index, minlength=len(names))
    picks = np.random.default_rng(seed).integers(len(names), size=(n_resamples, len(names)))
    return np.asarray(sums[picks].sum(axis=1) / counts[picks].sum(axis=1))


def interval(means: Floats, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap means."""
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_interval(
    values: Sequence[float] | Floats,
    groups: Sequence[str],
    *,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of the mean of ``values``; NaN if they are of fewer than two groups."""
    if not len(values):
        return (float("nan"), float("nan"))
    return interval(bootstrap_means(values, groups, n_resamples=n_resamples, seed=seed), level)


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Difference between two models on the same objects.

    Attributes:
        mean: mean difference over objects; low, high: its 95 % interval by subject.
        p: two-sided p value of the Wilcoxon signed-rank test on per-subject means; 1 if all are 0, and if
            there is a single subject.
        subjects: number of subjects.
    """

    mean: float
    low: float
    high: float
    p: float
    subjects: int


def paired_difference(
    first: Sequence[float] | Floats, second: Sequence[float] | Floats, groups: Sequence[str]
) -> PairedDifference:
    """First minus second, paired by value and resampled by group (subject)."""
    with needs("Evaluation", extra="evaluate"):
        from scipy.stats import wilcoxon

    differences = np.asarray(first, float) - np.asarray(second, float)
    low, high = bootstrap_interval(differences, groups)
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    means = np.bincount(index, weights=differences) / np.bincount(index)
    p = float(wilcoxon(means).pvalue) if np.any(means) and len(means) > 1 else 1.0
    return PairedDifference(float(differences.mean()), low, high, p, len(names))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for multiple comparisons (Holm 1979)."""
    order = np.argsort(p_values)
    adjusted, largest = np.empty(len(p_values)), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return [float(p) for p in adjusted]


@dataclass(frozen=True, slots=True)
class Calibration:
    """Calibration of the predicted IoU.

    Attributes:
        error: expected calibration error: |mean predicted - mean true| over ten equal-width bins of the
            predicted IoU, weighted by count (Guo et al. 2017, equation 3, with IoU in place of accuracy).
        bias: mean predicted IoU minus mean true IoU.
        predicted, true, counts: per non-empty bin.
    """

    error: float
    bias: float
    predicted: Floats
    true: Floats
    counts: npt.NDArray[np.int64]


def calibration(
    predicted: Sequence[float] | Floats, true: Sequence[float] | Floats, *, bins: int = 10
) -> Calibration:
    """Compare predicted IoU (0 to 1) with true IoU, bin by bin."""
    predicted, true = np.asarray(predicted, float), np.asarray(true, float)
    bin_index = np.clip((predicted * bins).astype(int), 0, bins - 1)
    counts = np.bincount(bin_index, minlength=bins)
    filled = counts > 0
    predicted_means, true_means = (
        np.bincount(bin_index, weights=values, minlength=bins)[filled] / counts[filled]
        for values in (predicted, true)
    )
    gaps = np.abs(predicted_means - true_means)
    return Calibration(
        float((gaps * counts[filled]).sum() / max(1, len(predicted))),
        float((predicted - true).mean()) if len(predicted) else float("nan"),
        predicted_means,
        true_means,
        counts[filled],
    )


@dataclass(frozen=True, slots=True)
class NumberOfClicks:
    """Number of clicks (NoC) to reach an IoU (Xu et al. 2016, 5.1).

    Attributes:
        mean: objects that never reach the IoU count with the maximum number of clicks.
        failures: number of those objects.
    """

    mean: float
    failures: int


def clicks_to_reach(
    ious: Sequence[Sequence[float]], threshold: float, max_clicks: int
) -> NumberOfClicks:
    """NoC over objects, each with its IoU after every click."""
    needed, failures = [], 0
    for values in ious:
        first = next((n for n, value in enumerate(values, 1) if value >= threshold), None)
        failures += first is None
        needed.append(max_clicks if first is None else first)
    return NumberOfClicks(float(np.mean(needed)) if needed else float("nan"), failures)
