"""How sure a mean is, and whether two segmenters differ: everything by subject."""

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
    draws: int = N_RESAMPLES,
    seed: int = 0,
) -> Floats:
    """Means [draws] of ``values``, each over whole groups (subjects) drawn with replacement.

    Values of one subject are not independent, so subjects are drawn, not values (Efron and Tibshirani
    1993, chapter 8).
    """
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.bincount(index, weights=np.asarray(values, dtype=float), minlength=len(names))
    counts = np.bincount(index, minlength=len(names))
    picks = np.random.default_rng(seed).integers(len(names), size=(draws, len(names)))
    return np.asarray(sums[picks].sum(axis=1) / counts[picks].sum(axis=1))


def interval(means: Floats, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of bootstrapped means."""
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_interval(
    values: Sequence[float] | Floats,
    groups: Sequence[str],
    *,
    level: float = 0.95,
    draws: int = N_RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of the mean of ``values``; NaN where there are none."""
    if not len(values):
        return (float("nan"), float("nan"))
    return interval(bootstrap_means(values, groups, draws=draws, seed=seed), level)


@dataclass(frozen=True, slots=True)
class Difference:
    """One segmenter's mean less another's on the same objects.

    Attributes:
        mean: of all objects' differences; low, high: its 95 % interval by subject.
        p: two-sided, of the subjects' mean differences (Wilcoxon's signed ranks); 1 where all are 0.
        subjects: how many.
    """

    mean: float
    low: float
    high: float
    p: float
    subjects: int


def paired_difference(
    first: Sequence[float] | Floats, second: Sequence[float] | Floats, groups: Sequence[str]
) -> Difference:
    """Compare paired values, those of one subject together."""
    with needs("Evaluation", extra="evaluate"):
        from scipy.stats import wilcoxon

    gaps = np.asarray(first, float) - np.asarray(second, float)
    low, high = bootstrap_interval(gaps, groups)
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    means = np.bincount(index, weights=gaps) / np.bincount(index)
    p = float(wilcoxon(means).pvalue) if np.any(means) else 1.0
    return Difference(float(gaps.mean()), low, high, p, len(names))


def holm(p_values: Sequence[float]) -> list[float]:
    """p values made fit for a family of tests (Holm 1979)."""
    order = np.argsort(p_values)
    adjusted, worst = np.empty(len(p_values)), 0.0
    for rank, i in enumerate(order):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = worst
    return [float(p) for p in adjusted]


@dataclass(frozen=True, slots=True)
class Calibration:
    """How near predicted IoU is to the true one.

    Attributes:
        error: the expected calibration error: |mean predicted - mean true| of ten equal bins of predicted
            IoU, weighted by their counts (Guo et al. 2017, equation 3, with IoU in place of accuracy).
        bias: mean predicted less mean true.
        predicted, true, counts: of the bins that hold anything.
    """

    error: float
    bias: float
    predicted: Floats
    true: Floats
    counts: npt.NDArray[np.int64]


def calibration(
    predicted: Sequence[float] | Floats, true: Sequence[float] | Floats, *, bins: int = 10
) -> Calibration:
    """Bin predicted IoU (0 to 1) and compare each bin's mean with the true one's."""
    said, was = np.asarray(predicted, float), np.asarray(true, float)
    which = np.clip((said * bins).astype(int), 0, bins - 1)
    counts = np.bincount(which, minlength=bins)
    full = counts > 0
    means = [
        np.bincount(which, weights=v, minlength=bins)[full] / counts[full] for v in (said, was)
    ]
    gap = np.abs(means[0] - means[1])
    return Calibration(
        float((gap * counts[full]).sum() / max(1, len(said))),
        float((said - was).mean()) if len(said) else float("nan"),
        means[0],
        means[1],
        counts[full],
    )


@dataclass(frozen=True, slots=True)
class Clicks:
    """Number of clicks to reach an IoU (NoC; Xu et al. 2016, 5.1).

    Attributes:
        mean: objects that never reach it count as the largest number that was tried.
        failures: how many those are.
    """

    mean: float
    failures: int


def clicks_to_reach(ious: Sequence[Sequence[float]], threshold: float, most: int) -> Clicks:
    """NoC over objects, each with its IoU after every click."""
    needed, failures = [], 0
    for values in ious:
        first = next((n for n, value in enumerate(values, 1) if value >= threshold), None)
        failures += first is None
        needed.append(most if first is None else first)
    return Clicks(float(np.mean(needed)) if needed else float("nan"), failures)
