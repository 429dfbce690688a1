"""Catastrophic failures: a mean hides the masks that are useless."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ultrasam.evaluation.metrics.statistics import Estimate

FAILURE_THRESHOLDS = (0.10, 0.50)


@dataclass(frozen=True, slots=True)
class FailureRate:
    """Share of objects below an IoU.

    Attributes:
        threshold: the IoU.
        share: 0 to 1, with its interval by subject.
        count: number of those objects; with repeated prompts, of those masks.
    """

    threshold: float
    share: Estimate
    count: int


def failure_rates(
    ious: Sequence[float] | npt.NDArray[np.float64],
    groups: Sequence[str],
    thresholds: Sequence[float] = FAILURE_THRESHOLDS,
) -> tuple[FailureRate, ...]:
    """The share of objects with an IoU below each threshold; ``groups`` are their subjects.

    Where none or all of them are below, every resample has the same share, which would tell that no further
    object ever differs. The interval is then the exact one of as many subjects of which none or all fail
    (Clopper and Pearson 1934), which holds for their objects, too: a subject without a failure has no object
    with one.
    """
    values = np.asarray(ious, dtype=np.float64)
    rates = []
    for threshold in thresholds:
        failed = values < threshold
        share = Estimate.of_mean(failed.astype(np.float64), groups)
        if not np.isnan(share.low) and share.value in (0, 1):
            least = 0.025 ** (1 / len(set(groups)))
            share = Estimate(0, 0, 1 - least) if share.value == 0 else Estimate(1, least, 1)
        rates.append(FailureRate(threshold, share, int(failed.sum())))
    return tuple(rates)
