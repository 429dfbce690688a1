"""Limits of agreement against the formulas and the example of Bland and Altman."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ultrasam.evaluation.metrics.agreement import agreement

# Peak expiratory flow (l/min) of 17 people by two meters: Bland and Altman, Lancet 1986, first readings.
WRIGHT = (494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427)
MINI = (512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451)
PEOPLE = [f"person {k}" for k in range(17)]


def test_the_example_of_bland_and_altman() -> None:
    """Their mean difference is -2.1 l/min, with a standard deviation of 38.8; limits at 2 of them."""
    found = agreement(WRIGHT, MINI, PEOPLE)
    assert found.bias.value == pytest.approx(-2.1, abs=0.05)
    assert found.sd == pytest.approx(38.8, abs=0.05)
    assert found.lower.value == pytest.approx(-2.12 - 1.96 * 38.77, abs=0.05)
    assert found.upper.value == pytest.approx(-2.12 + 1.96 * 38.77, abs=0.05)
    assert (found.pairs, found.subjects, found.undefined) == (17, 17, 0)
    errors = np.abs(np.subtract(WRIGHT, MINI))
    assert found.mean_absolute == pytest.approx(errors.mean())
    assert found.sd_absolute == pytest.approx(errors.std(ddof=1))


def test_intervals_are_as_wide_as_the_formulas_say_for_one_pair_per_subject() -> None:
    """Standard errors of the bias and of a limit: Bland and Altman 1999."""
    rng = np.random.default_rng(0)
    n = 400
    reference = rng.uniform(50, 300, n)
    found = agreement(reference + rng.normal(1.5, 2, n), reference, [str(k) for k in range(n)])
    quantile = stats.t.ppf(0.975, n - 1)
    bias = quantile * found.sd / math.sqrt(n)
    limit = quantile * found.sd * math.sqrt(1 / n + 1.96**2 / (2 * (n - 1)))
    for estimate, half in ((found.bias, bias), (found.lower, limit), (found.upper, limit)):
        assert estimate.high - estimate.low == pytest.approx(2 * half, rel=0.12)
        assert estimate.low < estimate.value < estimate.high
    assert found.bias.low < 1.5 < found.bias.high


def test_many_images_of_a_subject_do_not_make_the_interval_narrower() -> None:
    rng = np.random.default_rng(0)
    errors, names = rng.normal(1, 2, 30), [str(k) for k in range(30)]
    once = agreement(errors, np.zeros(30), names)
    often = agreement(np.tile(errors, 8), np.zeros(240), names * 8)
    assert (often.bias.low, often.bias.high) == pytest.approx((once.bias.low, once.bias.high))
    assert often.subjects == 30


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.floats(-50, 50), st.floats(0.1, 10))
def test_shifts_move_the_bias_and_scale_stretches_all(
    seed: int, shift: float, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    measured, reference = rng.normal(100, 10, (2, 12))
    groups = [str(k % 6) for k in range(12)]
    first = agreement(measured, reference, groups)
    other = agreement(scale * measured + shift, scale * reference, groups)
    assert other.sd == pytest.approx(scale * first.sd)
    for name in ("bias", "lower", "upper"):
        for end in ("value", "low", "high"):
            expected = scale * getattr(getattr(first, name), end) + shift
            assert getattr(getattr(other, name), end) == pytest.approx(expected, abs=1e-6)


def test_what_is_missing_is_counted_and_not_averaged() -> None:
    found = agreement([1.0, math.nan, 4.0], [1.0, 5.0, 2.0], ["a", "b", "c"])
    assert (found.bias.value, found.pairs, found.subjects, found.undefined) == (1.0, 2, 2, 1)
    none = agreement([math.nan], [1.0], ["a"])
    assert math.isnan(none.bias.value)
    assert (none.pairs, none.subjects, none.undefined) == (0, 0, 1)


def test_one_subject_has_no_interval_and_one_pair_no_limits() -> None:
    one_subject = agreement([1.0, 2.0], [0.0, 0.0], ["a", "a"])
    assert one_subject.bias.value == 1.5
    assert one_subject.sd == pytest.approx(math.sqrt(0.5))
    assert math.isnan(one_subject.bias.low)
    assert math.isnan(one_subject.upper.high)
    one_pair = agreement([1.0], [0.0], ["a"])
    assert one_pair.bias.value == 1
    assert math.isnan(one_pair.sd)
    assert math.isnan(one_pair.lower.value)
