"""Click curves by hand."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultrasam.evaluation.metrics.clicks import NOC_THRESHOLDS, click_curve, clicks_to_reach

CURVES = st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=7), min_size=1, max_size=20)


def test_the_number_of_clicks_counts_failures_at_the_maximum() -> None:
    ious = [[0.5, 0.9], [0.95], [0.1, 0.2]]
    noc = clicks_to_reach(ious, 0.9, 5)
    assert (noc.mean, noc.failures) == (pytest.approx((2 + 1 + 5) / 3), 1)
    assert math.isnan(clicks_to_reach([], 0.9, 5).mean)


def test_a_box_before_the_clicks_is_no_click() -> None:
    noc = clicks_to_reach([[0.95], [0.5, 0.85, 0.92], [0.2]], 0.9, 5, first=0)
    assert (noc.mean, noc.failures) == (pytest.approx((0 + 2 + 5) / 3), 1)


@given(CURVES)
def test_a_higher_iou_takes_no_fewer_clicks(ious: list[list[float]]) -> None:
    found = [clicks_to_reach(ious, threshold, 7) for threshold in NOC_THRESHOLDS]
    assert all(a.mean <= b.mean and a.failures <= b.failures for a, b in pairwise(found))


def test_the_curve_keeps_the_last_iou_and_names_the_clicks_after_which_masks_get_worse() -> None:
    curve = click_curve([[0.5, 0.8, 0.7], [0.9], [0.6, 0.55, 0.9, 0.2], [0.4, 0.395]], 4)
    assert curve.clicks.tolist() == [1, 2, 3, 4]
    filled = [[0.5, 0.8, 0.7, 0.7], [0.9] * 4, [0.6, 0.55, 0.9, 0.2], [0.4, 0.395, 0.395, 0.395]]
    assert curve.mean.tolist() == pytest.approx(np.mean(filled, axis=0).tolist())
    assert curve.falling.tolist() == [0, 0.25, 0.25, 0.25]  # 0.005 less is no fall
    assert curve.ever_falling == 0.5
    assert (curve.worst_click, curve.mean_falls_at, curve.objects) == (2, (4,), 4)


def test_a_curve_that_only_rises_has_no_worst_click() -> None:
    curve = click_curve([[0.2, 0.5], [0.3, 0.3]], 2, first=0)
    assert curve.clicks.tolist() == [0, 1, 2]
    assert (curve.worst_click, curve.mean_falls_at, curve.ever_falling) == (None, (), 0)


def test_no_object_has_no_curve_and_too_many_values_are_refused() -> None:
    empty = click_curve([], 3)
    assert np.isnan(empty.mean).all()
    assert (empty.objects, empty.worst_click, empty.mean_falls_at) == (0, None, ())
    with pytest.raises(ValueError, match="1 to 2 values"):
        click_curve([[0.1, 0.2, 0.3]], 2)
    with pytest.raises(ValueError, match="1 to 2 values"):
        click_curve([[]], 2)


@given(CURVES)
def test_the_curve_is_between_the_lowest_and_the_highest_iou(ious: list[list[float]]) -> None:
    curve = click_curve(ious, 7)
    low, high = (f(map(f, ious)) for f in (min, max))
    assert (curve.mean >= low - 1e-9).all()
    assert (curve.mean <= high + 1e-9).all()
    assert curve.falling.max() <= curve.ever_falling + 1e-12
