"""Nothing there: does the predicted IoU say that no object fits the prompt?

A promptable model answers every prompt, also where there is nothing. Its predicted IoU is the only sign:
prompts that have an object should score higher than empty ones. A mask without a single pixel says "nothing"
itself: give it a score of -inf, whatever its predicted IoU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ultrasam.evaluation.metrics.statistics import Estimate, interval, resampled_groups

Floats = npt.NDArray[np.float64]
COVERAGE = 0.95


@dataclass(frozen=True, slots=True)
class RocCurve:
    """ROC curve of the score that a prompt has an object.

    Attributes:
        false_positives: share of empty prompts with at least the threshold's score [K], from 0 to 1.
        true_positives: share of the prompts that have an object [K].
        thresholds: scores, falling [K]; the first is +inf, at which nothing is answered.
        area: area under the curve, with its interval by subject: the probability that a prompt with an
            object scores higher than an empty one, ties counting half (Hanley and McNeil 1982).
        present, absent: number of prompts with and without an object.
    """

    false_positives: Floats
    true_positives: Floats
    thresholds: Floats
    area: Estimate
    present: int
    absent: int


def roc_curve(
    present: Sequence[float] | Floats,
    absent: Sequence[float] | Floats,
    present_groups: Sequence[str],
    absent_groups: Sequence[str],
    *,
    seed: int = 0,
) -> RocCurve | None:
    """The ROC curve of scores of prompts with and without an object; None if either are missing.

    Resamples of subjects that lack one of the two kinds are left out of the interval.

    Args:
        present, absent: scores, such as the predicted IoU.
        present_groups, absent_groups: the subjects.
        seed: of the bootstrap.

    Raises:
        ValueError: A score is NaN.
    """
    scores = np.concatenate([_scores(present), _scores(absent)])
    if not len(present) or not len(absent):
        return None
    has_object = np.arange(len(scores)) < len(present)
    thresholds, rank = np.unique(-scores, return_inverse=True)  # the highest score first
    index, draws = resampled_groups([*present_groups, *absent_groups], seed=seed)
    area = _area(rank, has_object, np.ones(len(scores)))
    low = high = float("nan")
    if draws.shape[1] > 1:
        areas = np.array([_area(rank, has_object, drawn[index]) for drawn in draws])
        low, high = interval(areas[np.isfinite(areas)])
    true, false = (
        np.bincount(rank[m], minlength=len(thresholds)) for m in (has_object, ~has_object)
    )
    return RocCurve(
        _shares(false), _shares(true), np.array([np.inf, *-thresholds]), Estimate(area, low, high),
        len(present), len(absent),
    )  # fmt: skip


def _scores(values: Sequence[float] | Floats) -> Floats:
    scores = np.asarray(values, dtype=np.float64)
    if np.isnan(scores).any():
        raise ValueError("a score is NaN")
    return scores


def _area(
    rank: npt.NDArray[np.intp], has_object: npt.NDArray[np.bool_], weights: npt.NDArray[Any]
) -> float:
    """Area under the ROC curve of weighted prompts, from the highest score; NaN if a kind is missing."""
    length = int(rank.max()) + 1
    true, false = (np.bincount(rank[m], weights[m], length) for m in (has_object, ~has_object))
    pairs = float(true.sum() * false.sum())
    return float(((np.cumsum(true) - true / 2) * false).sum()) / pairs if pairs else float("nan")


def _shares(counts: npt.NDArray[np.int64]) -> Floats:
    return np.asarray(np.array([0, *np.cumsum(counts)]) / counts.sum())


@dataclass(frozen=True, slots=True)
class AbstentionCurve:
    """What a model gains by not answering prompts with a score below a threshold.

    Attributes:
        thresholds: scores, falling [K]; the first is +inf, at which nothing is answered. A score of -inf is
            never answered.
        coverage: share of the prompts with an object that are answered [K], rising from 0.
        dice_answered: mean Dice of those [K]; NaN if none is answered.
        rejected: share of empty prompts that are not answered [K]; NaN if there are none.
        dice_all: mean Dice over all prompts [K]: an answered empty prompt counts 0 and a rejected one 1, a
            rejected prompt with an object 0. Rejecting means that the mask is empty.
        present, absent: number of prompts with and without an object.
    """

    thresholds: Floats
    coverage: Floats
    dice_answered: Floats
    rejected: Floats
    dice_all: Floats
    present: int
    absent: int

    def at_coverage(self, coverage: float = COVERAGE) -> AbstentionPoint:
        """The highest threshold that answers this share of prompts with an object; the last if none does."""
        k = min(int(np.searchsorted(self.coverage, coverage - 1e-12)), len(self.coverage) - 1)
        values = (self.thresholds, self.coverage, self.dice_answered, self.rejected, self.dice_all)
        return AbstentionPoint(*(float(v[k]) for v in values))


@dataclass(frozen=True, slots=True)
class AbstentionPoint:
    """One point of an `AbstentionCurve`, with the same attributes."""

    threshold: float
    coverage: float
    dice_answered: float
    rejected: float
    dice_all: float


def abstention_curve(
    present: Sequence[float] | Floats,
    dice: Sequence[float] | Floats,
    absent: Sequence[float] | Floats,
) -> AbstentionCurve | None:
    """The abstention curve; None if no prompt has an object.

    Args:
        present: scores of the prompts that have an object, such as the predicted IoU; dice: of their masks.
        absent: scores of the empty prompts.

    Raises:
        ValueError: A score is NaN.
    """
    filled, empty = _scores(present), _scores(absent)
    if not len(filled):
        return None
    thresholds, rank = np.unique(-np.concatenate([filled, empty]), return_inverse=True)
    with_object, without = rank[: len(filled)], rank[len(filled) :]
    finite = int(np.isfinite(thresholds).sum())

    def answered(ranks: npt.NDArray[np.intp], weights: Floats | None = None) -> Floats:
        """Number, or sum of weights, of the answered prompts at each threshold [K]."""
        totals = np.cumsum(np.bincount(ranks, weights, len(thresholds))[:finite])
        return np.array([0.0, *totals])

    count, false = answered(with_object), answered(without)
    dice_sum = answered(with_object, np.asarray(dice, dtype=np.float64))
    with np.errstate(invalid="ignore"):
        return AbstentionCurve(
            np.array([np.inf, *-thresholds[:finite]]),
            count / len(filled),
            dice_sum / count,
            1 - false / np.float64(len(empty)),
            (dice_sum + len(empty) - false) / len(rank),
            len(filled),
            len(empty),
        )
