"""Uncertainty of means and differences between models, by subject."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ultrasam.extras import needs

Floats = npt.NDArray[np.float64]
N_RESAMPLES = 2000
# With fewer subjects a sign test cannot reach p < 0.05, as 2 / 2^5 > 0.05, however large the difference is;
# and bootstrap intervals are far too narrow.
MIN_SUBJECTS = 6


def bootstrap_means(
    values: Sequence[float] | Floats,
    groups: Sequence[str],
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Floats:
    """Bootstrap means [n_resamples] of ``values``, resampled by whole groups (subjects).

    A single subject says nothing about how subjects vary: the means are then NaN.
    """
    index, draws = resampled_groups(groups, n_resamples=n_resamples, seed=seed)
    return drawn_means(values, index, draws)


def drawn_means(
    values: Sequence[float] | Floats, index: npt.NDArray[np.int64], draws: npt.NDArray[np.int64]
) -> Floats:
    """Means [n] of ``values`` [N] of the groups ``index`` [N], drawn as often as ``draws`` [n, G] says; NaN
    for a single group."""
    count = draws.shape[1]
    if count < 2:
        return np.full(len(draws), np.nan)
    sums = np.bincount(index, weights=np.asarray(values, dtype=float), minlength=count)
    return np.asarray((draws @ sums) / (draws @ np.bincount(index, minlength=count)))


def resampled_groups(
    groups: Sequence[str], *, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The group of each value [N], from 0, and how often each resample draws each group [n_resamples, G].

    Values of one subject are not independent, so subjects are resampled, not values (Efron and Tibshirani
    1993, chapter 8).
    """
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    picks = np.random.default_rng(seed).integers(max(1, len(names)), size=(n_resamples, len(names)))
    rows = len(names) * np.arange(n_resamples)[:, None]
    draws = np.bincount((picks + rows).ravel(), minlength=picks.size)
    return index, draws.reshape(picks.shape)


def interval(means: Floats, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap means, or of another statistic."""
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
class Estimate:
    """A value and its 95 % interval by subject, which is NaN if there are fewer than two subjects."""

    value: float
    low: float
    high: float

    @classmethod
    def of_mean(cls, values: Sequence[float] | Floats, groups: Sequence[str]) -> Estimate:
        """The mean of values and its bootstrap interval; NaN if there are none."""
        if not len(values):
            return cls(float("nan"), float("nan"), float("nan"))
        return cls(float(np.mean(values)), *bootstrap_interval(values, groups))


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
