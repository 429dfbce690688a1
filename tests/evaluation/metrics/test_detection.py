"""ROC against scikit-learn and SciPy; abstention against masks that are emptied one by one."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu
from sklearn import metrics

from tests.examples import examples
from ultrasam.evaluation.metrics.detection import abstention_curve, roc_curve

SEEDS = st.integers(0, 2**32)
Floats = npt.NDArray[np.float64]


def scores_of(seed: int) -> tuple[Floats, Floats, Floats]:
    """Scores with and without an object, many of them tied, and the Dice of the former."""
    rng = np.random.default_rng(seed)
    present, absent = rng.integers(1, 40, 2)
    digits = int(rng.integers(1, 4))
    filled = rng.beta(5, 2, present).round(digits)
    return filled, rng.beta(2, 2, absent).round(digits), rng.random(present)


@settings(max_examples=examples(10), deadline=None)
@given(SEEDS)
def test_the_curve_is_scikit_learns_and_the_area_is_mann_and_whitneys(seed: int) -> None:
    present, absent, _ = scores_of(seed)
    groups = [str(k % 5) for k in range(len(present) + len(absent))]
    found = roc_curve(present, absent, groups[: len(present)], groups[len(present) :])
    assert found is not None
    truth = np.repeat([1, 0], [len(present), len(absent)])
    scores = np.concatenate([present, absent])
    false, true, thresholds = metrics.roc_curve(truth, scores, drop_intermediate=False)
    assert found.false_positives.tolist() == pytest.approx(false.tolist())
    assert found.true_positives.tolist() == pytest.approx(true.tolist())
    assert found.thresholds.tolist() == thresholds.tolist()
    assert found.area.value == pytest.approx(metrics.roc_auc_score(truth, scores))
    u = mannwhitneyu(present, absent).statistic
    assert found.area.value == pytest.approx(u / (len(present) * len(absent)))
    assert found.area.low <= found.area.high
    assert (found.present, found.absent) == (len(present), len(absent))


def test_the_interval_of_the_area_is_as_wide_as_delongs() -> None:
    """DeLong et al. (1988): the variance of the area from the variance of the placements."""
    rng = np.random.default_rng(0)
    present, absent = rng.normal(1, 1, 300), rng.normal(0, 1, 200)
    groups = [str(k) for k in range(500)]
    found = roc_curve(present, absent, groups[:300], groups[300:])
    assert found is not None
    higher = (present[:, None] > absent).astype(float)
    variance = higher.mean(axis=1).var(ddof=1) / 300 + higher.mean(axis=0).var(ddof=1) / 200
    width = 2 * 1.96 * math.sqrt(variance)
    assert found.area.high - found.area.low == pytest.approx(width, rel=0.1)
    assert found.area.low < found.area.value < found.area.high


def test_images_of_one_subject_are_resampled_together() -> None:
    """Each subject ten times says no more than once."""
    rng = np.random.default_rng(0)
    present, absent = rng.normal(1, 1, 40), rng.normal(0, 1, 40)
    names = [str(k) for k in range(40)]
    once = roc_curve(present, absent, names, names)
    often = roc_curve(np.tile(present, 10), np.tile(absent, 10), names * 10, names * 10)
    assert once is not None
    assert often is not None
    assert often.area.low == pytest.approx(once.area.low)
    assert often.area.high == pytest.approx(once.area.high)


def test_an_area_needs_both_kinds_and_an_interval_two_subjects() -> None:
    assert roc_curve([0.5], [], ["a"], []) is None
    assert abstention_curve([], [], [0.5]) is None
    single = roc_curve([0.5], [0.5], ["a"], ["a"])
    assert single is not None
    assert single.area.value == 0.5
    assert math.isnan(single.area.low)
    with pytest.raises(ValueError, match="NaN"):
        roc_curve([math.nan], [0.5], ["a"], ["b"])


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_abstention_is_what_empty_masks_below_the_threshold_would_score(seed: int) -> None:
    present, absent, dice = scores_of(seed)
    curve = abstention_curve(present, dice, absent)
    assert curve is not None
    assert curve.thresholds[1:].tolist() == sorted({*present, *absent}, reverse=True)
    for k, threshold in enumerate(curve.thresholds):
        answered = present >= threshold
        assert curve.coverage[k] == pytest.approx(answered.mean())
        assert curve.rejected[k] == pytest.approx((absent < threshold).mean())
        every = np.concatenate([np.where(answered, dice, 0), (absent < threshold).astype(float)])
        assert curve.dice_all[k] == pytest.approx(every.mean())
        if answered.any():
            assert curve.dice_answered[k] == pytest.approx(dice[answered].mean())
        else:
            assert math.isnan(curve.dice_answered[k])
    point = curve.at_coverage(0.95)
    # As many as 95 % of the prompts need, by sorting: the k-th highest score.
    needed = sorted(present, reverse=True)[math.ceil(0.95 * len(present) - 1e-9) - 1]
    assert point.threshold == needed
    assert point.coverage >= 0.95 - 1e-9
    assert point.coverage == pytest.approx((present >= needed).mean())


def test_abstention_by_hand() -> None:
    present, dice, absent = [0.9] * 18 + [0.6, 0.2], [0.8] * 18 + [0.5, 0.1], [0.3, 0.7, 0.1, 0.6]
    curve = abstention_curve(present, dice, absent)
    assert curve is not None
    point = curve.at_coverage()
    assert (point.threshold, point.coverage) == (0.6, 0.95)
    assert point.dice_answered == pytest.approx((18 * 0.8 + 0.5) / 19)
    assert point.rejected == 0.5
    assert point.dice_all == pytest.approx((18 * 0.8 + 0.5 + 2) / 24)


def test_an_empty_mask_is_never_an_answer() -> None:
    never = -math.inf
    curve = abstention_curve([0.9, never], [0.8, 0.0], [never, 0.5])
    assert curve is not None
    assert curve.coverage.tolist() == [0, 0.5, 0.5]
    assert curve.rejected.tolist() == [1, 1, 0.5]
    assert curve.dice_all.tolist() == pytest.approx([0.5, (0.8 + 2) / 4, (0.8 + 1) / 4])
    assert curve.at_coverage().coverage == 0.5
    roc = roc_curve([0.9, never], [never, 0.5], ["a", "b"], ["c", "d"])
    assert roc is not None
    assert roc.area.value == pytest.approx((1 + 1 + 0.5 + 0) / 4)


def test_without_empty_prompts_nothing_is_rejected() -> None:
    curve = abstention_curve([0.9, 0.5], [0.8, 0.4], [])
    assert curve is not None
    assert np.isnan(curve.rejected).all()
    assert curve.dice_all.tolist() == pytest.approx([0, 0.4, 0.6])
