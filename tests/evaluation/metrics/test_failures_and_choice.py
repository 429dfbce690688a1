"""Failures, the choice among masks, subgroups and resampled subjects by hand and against SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from ultrasam.evaluation.metrics.failures import failure_rates
from ultrasam.evaluation.metrics.mask_choice import mask_choice
from ultrasam.evaluation.metrics.statistics import (
    Estimate,
    bootstrap_interval,
    bootstrap_means,
    resampled_groups,
)
from ultrasam.evaluation.metrics.subgroups import area_terciles, image_size_groups


def test_failures_are_the_objects_below_an_iou() -> None:
    rates = failure_rates([0.05, 0.10, 0.49, 0.50, 0.9], list("abcde"))
    assert [(r.threshold, r.share.value, r.count) for r in rates] == [(0.1, 0.2, 1), (0.5, 0.6, 3)]
    nothing = failure_rates([], [])
    assert all(math.isnan(r.share.value) and r.count == 0 for r in nothing)


def test_the_interval_of_a_share_is_the_binomials() -> None:
    """The resampled share of independent objects is a binomial's."""
    values = np.where(np.arange(200) < 24, 0.05, 0.9)
    (rate,) = failure_rates(values, [str(k) for k in range(200)], (0.1,))
    low, high = binom.ppf([0.025, 0.975], 200, 0.12) / 200
    assert rate.share.low == pytest.approx(low, abs=0.011)
    assert rate.share.high == pytest.approx(high, abs=0.011)


@pytest.mark.parametrize("subjects", [2, 8, 60])
def test_no_failure_among_few_subjects_does_not_mean_that_there_are_none(subjects: int) -> None:
    groups = [str(k) for k in range(subjects)] * 3  # three objects of each tell no more than one
    for iou, failed in ((0.9, 0), (0.05, subjects)):
        exact = binomtest(failed, subjects).proportion_ci(method="exact")
        (rate,) = failure_rates([iou] * len(groups), groups, (0.1,))
        assert (rate.share.low, rate.share.high) == pytest.approx((exact.low, exact.high))
    (alone,) = failure_rates([0.9, 0.9], ["a", "a"], (0.1,))
    assert math.isnan(alone.share.high)


def test_the_chosen_mask_is_compared_with_the_best_where_there_are_candidates() -> None:
    found = mask_choice([0.8, 0.5, 0.3, 0.9], [0.8, 0.9, None, 0.90001], list("abcd"))
    assert found is not None
    assert found.objects == 3
    assert found.right.value == pytest.approx(2 / 3)  # the fifth digit is rounded
    assert found.chosen.value == pytest.approx((0.8 + 0.5 + 0.9) / 3)
    assert found.best.value == pytest.approx((0.8 + 0.9 + 0.90001) / 3)
    assert found.loss.value == pytest.approx(0.40001 / 3)
    assert found.loss.low <= found.loss.value <= found.loss.high
    assert mask_choice([0.5], [None], ["a"]) is None
    assert mask_choice([], [], []) is None


def test_groups_of_images_are_by_their_shorter_side() -> None:
    groups = image_size_groups([399, 400, 800, 801, 3000], [900, 900, 900, 900, 100])
    assert groups == ["< 400 px", "400–800 px", "400–800 px", "> 800 px", "< 400 px"]
    assert image_size_groups([], []) == []


@given(st.lists(st.floats(1e-9, 1), min_size=3, max_size=60, unique_by=lambda a: round(a, 9)))
def test_terciles_are_equal_in_number_and_in_order(areas: list[float]) -> None:
    labels = area_terciles(areas)
    counts = [labels.count(name) for name in ("small", "medium", "large")]
    assert max(counts) - min(counts) <= 1
    ranked = [label for _, label in sorted(zip(areas, labels, strict=True))]
    assert ranked == [
        n for n, c in zip(("small", "medium", "large"), counts, strict=True) for _ in range(c)
    ]


def test_objects_of_one_size_are_one_group() -> None:
    assert len(set(area_terciles([0.2] * 9))) == 1
    assert area_terciles([]) == []


@given(st.integers(0, 2**32), st.integers(2, 9))
def test_a_resample_draws_as_many_subjects_as_there_are(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    groups = [str(g) for g in rng.integers(count, size=30)]
    index, draws = resampled_groups(groups, n_resamples=50, seed=seed)
    names = sorted(set(groups))
    assert [names[i] for i in index] == groups
    assert draws.shape == (50, len(names))
    assert (draws.sum(axis=1) == len(names)).all()


def test_bootstrap_means_are_those_of_values_repeated_as_drawn() -> None:
    rng = np.random.default_rng(0)
    values, groups = rng.random(20), [str(g) for g in rng.integers(6, size=20)]
    index, draws = resampled_groups(groups, n_resamples=100, seed=3)
    found = bootstrap_means(values, groups, n_resamples=100, seed=3)
    for mean, drawn in zip(found, draws, strict=True):
        assert mean == pytest.approx(np.repeat(values, drawn[index]).mean())


def test_an_estimate_is_a_mean_with_its_interval() -> None:
    values, groups = [0.1, 0.5, 0.9], ["a", "b", "c"]
    low, high = bootstrap_interval(values, groups)
    assert Estimate.of_mean(values, groups) == Estimate(pytest.approx(0.5), low, high)
    assert math.isnan(Estimate.of_mean([], []).value)
