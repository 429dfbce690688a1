"""Agreement of paired measurements: bias and limits of agreement (Bland and Altman 1999)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ultrasam.evaluation.metrics.statistics import Estimate, interval, resampled_groups

Floats = npt.NDArray[np.float64]
_NORMAL_95 = 1.959964  # 97.5th percentile of the normal distribution
_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of measured with reference values; errors are measured minus reference, in their unit.

    Attributes:
        bias: mean error, with its 95 % interval by subject.
        sd: standard deviation of the errors (n - 1); NaN for a single pair.
        lower, upper: 95 % limits of agreement, bias ∓ 1.96 sd, with their intervals. About 95 % of errors lie
            within them if the errors are about normal.
        mean_absolute, sd_absolute: mean and standard deviation of the absolute errors.
        pairs, subjects: number of pairs and of subjects.
        undefined: number of pairs left out because a value is missing (NaN).
    """

    bias: Estimate
    sd: float
    lower: Estimate
    upper: Estimate
    mean_absolute: float
    sd_absolute: float
    pairs: int
    subjects: int
    undefined: int


def agreement(
    measured: Sequence[float] | Floats,
    reference: Sequence[float] | Floats,
    groups: Sequence[str],
    *,
    seed: int = 0,
) -> Agreement:
    """Bias and limits of agreement; all are NaN without a pair.

    Intervals are percentile intervals from resampled subjects. The formulas of Bland and Altman (1999)
    assume one pair per subject; data sets have several images of a subject.

    Args:
        measured, reference: paired values; NaN where there is none.
        groups: the subjects.
    """
    errors = np.asarray(measured, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
    defined = np.isfinite(errors)
    undefined = int((~defined).sum())
    errors = errors[defined]
    subjects = [group for group, keep in zip(groups, defined, strict=True) if keep]
    if not len(errors):
        none = Estimate(_NAN, _NAN, _NAN)
        return Agreement(none, _NAN, none, none, _NAN, _NAN, 0, 0, undefined)
    bias, sd = float(errors.mean()), _sd(errors)
    index, draws = resampled_groups(subjects, seed=seed)
    biases, reaches = _resampled_limits(errors - bias, index, draws)
    biases += bias
    reach = _NORMAL_95 * sd
    return Agreement(
        Estimate(bias, *interval(biases)),
        sd,
        Estimate(bias - reach, *interval(biases - reaches)),
        Estimate(bias + reach, *interval(biases + reaches)),
        float(np.abs(errors).mean()),
        _sd(np.abs(errors)),
        len(errors),
        draws.shape[1],
        undefined,
    )


def _sd(values: Floats) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else _NAN


def _resampled_limits(
    errors: Floats, index: npt.NDArray[np.int64], draws: npt.NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Means of the resamples, and 1.96 times their standard deviations; NaN for a single subject."""
    count = draws.shape[1]
    if count < 2:
        nothing = np.full(len(draws), np.nan)
        return nothing, nothing.copy()
    sums = (np.bincount(index, weights=w, minlength=count) for w in (errors, errors**2))
    totals, squares = (draws @ s for s in sums)
    sizes = draws @ np.bincount(index, minlength=count)
    means = totals / sizes
    variances = np.maximum(0, squares - sizes * means**2) / np.maximum(1, sizes - 1)
    return means, _NORMAL_95 * np.sqrt(variances)
