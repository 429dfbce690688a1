"""Fitted ellipses against analytic ones, SciPy's elliptic integral and scikit-image's fit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ellipe
from skimage.measure import EllipseModel, label, regionprops

from tests.shapes import blob, ellipse_mask
from ultrasam.errors import MeasurementError
from ultrasam.measure.ellipse import Ellipse, ellipse_through, equivalent_ellipse, fit_ellipse
from ultrasam.measure.outline import largest_part, outline_points

SPACINGS = ((1.0, 1.0), (0.5, 0.5), (0.308, 0.154), (0.4, 0.9))


@settings(max_examples=200, deadline=None)
@given(a=st.floats(1e-3, 1e4), ratio=st.floats(1e-4, 1))
def test_the_circumference_is_the_elliptic_integral(a: float, ratio: float) -> None:
    found = Ellipse((0, 0), a, a * ratio, 0).circumference
    assert found == pytest.approx(4 * a * ellipe(1 - ratio**2), rel=1e-12)


def test_the_circumference_of_a_circle_is_exact() -> None:
    assert Ellipse((0, 0), 7, 7, 0).circumference == pytest.approx(14 * math.pi, rel=1e-15)


@settings(max_examples=60, deadline=None)
@given(
    semi_major=st.floats(60, 140),
    ratio=st.floats(0.5, 1),
    angle=st.floats(-1.5, 1.5),
    spacing=st.sampled_from(SPACINGS),
    offset=st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)),
)
def test_an_ellipse_is_found_within_half_a_percent(
    semi_major: float,
    ratio: float,
    angle: float,
    spacing: tuple[float, float],
    offset: tuple[float, float],
) -> None:
    """In mm, with pixels that need not be square; semi-axes of at least 30 pixels of the longer side."""
    a, b = semi_major * max(spacing), semi_major * ratio * max(spacing)
    mask, center = ellipse_mask(a, b, angle, spacing=spacing, offset=offset)
    found = fit_ellipse(mask, spacing)
    assert found.circumference == pytest.approx(4 * a * ellipe(1 - ratio**2), rel=0.005)
    assert found.area == pytest.approx(math.pi * a * b, rel=0.005)
    assert found.semi_major == pytest.approx(a, rel=0.005)
    assert found.semi_minor == pytest.approx(b, rel=0.005)
    assert found.center == pytest.approx(center, abs=0.2 * max(spacing))
    if ratio < 0.9:
        turn = (found.angle - angle + math.pi / 2) % math.pi - math.pi / 2
        assert abs(turn) < math.radians(1)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_fit_is_scikit_images(seed: int) -> None:
    """Of any shape: the same points, another implementation of the same method."""
    rng = np.random.default_rng(seed)
    mask = blob(rng, (40, 50))
    if not mask.any():
        return
    points = outline_points(largest_part(mask))
    expected = EllipseModel.from_estimate(points)
    if not expected or len(points) < 12:
        return
    found = ellipse_through(points)
    lengths = (found.semi_major, found.semi_minor)
    assert lengths == pytest.approx(sorted(expected.axis_lengths, reverse=True), rel=1e-6)
    assert found.center == pytest.approx(tuple(expected.center), rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    scale=st.floats(0.05, 20),
    shift=st.tuples(st.integers(0, 9), st.integers(0, 9)),
)
def test_scale_turns_and_shifts_do_what_they_should(
    seed: int, scale: float, shift: tuple[int, int]
) -> None:
    rng = np.random.default_rng(seed)
    mask, _ = ellipse_mask(rng.uniform(10, 30), rng.uniform(8, 10), rng.uniform(-1.5, 1.5))
    mask[rng.integers(mask.shape[0], size=30), rng.integers(mask.shape[1], size=30)] = False
    first = fit_ellipse(mask, (1, 2))
    scaled = fit_ellipse(mask, (scale, 2 * scale))
    assert scaled.circumference == pytest.approx(scale * first.circumference, rel=1e-6)
    turned = fit_ellipse(np.rot90(mask), (2, 1))
    assert turned.circumference == pytest.approx(first.circumference, rel=1e-6)
    assert turned.area == pytest.approx(first.area, rel=1e-6)
    moved = fit_ellipse(np.pad(mask, ((shift[0], 0), (shift[1], 0))), (1, 2))
    center = (first.center[0] + 2 * shift[1], first.center[1] + shift[0])
    assert moved.center == pytest.approx(center, rel=1e-6)
    assert moved.circumference == pytest.approx(first.circumference, rel=1e-6)


def test_holes_and_specks_do_not_change_the_ellipse() -> None:
    mask, _ = ellipse_mask(40, 25, 0.3)
    expected = fit_ellipse(mask)
    mask[mask.shape[0] // 2, mask.shape[1] // 2] = False
    mask[0, 0] = True
    assert fit_ellipse(mask) == expected


def test_a_head_that_the_image_cuts_off_keeps_its_circumference() -> None:
    mask, _ = ellipse_mask(80, 60)
    whole = fit_ellipse(mask).circumference
    cut = fit_ellipse(mask[:, :-30]).circumference
    assert cut == pytest.approx(whole, rel=0.005)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1)])
def test_points_and_lines_have_no_ellipse_or_a_thin_one(size: tuple[int, int]) -> None:
    mask = np.zeros((50, 50), bool)
    mask[5 : 5 + size[0], 5 : 5 + size[1]] = True
    if size == (1, 1):
        with pytest.raises(MeasurementError, match="too small"):
            fit_ellipse(mask)
        return
    found = fit_ellipse(mask)
    assert found.semi_minor < 2 < 15 < found.semi_major < 40


def test_what_cannot_be_measured_is_refused_in_a_sentence() -> None:
    empty = np.zeros((9, 9), bool)
    with pytest.raises(MeasurementError, match="The mask is empty"):
        fit_ellipse(empty)
    with pytest.raises(MeasurementError, match="cuts off more than half"):
        fit_ellipse(~empty)
    with pytest.raises(MeasurementError, match=r"shape \(2, 9, 9\)"):
        fit_ellipse(np.ones((2, 9, 9), bool))
    disc, _ = ellipse_mask(5, 5)
    for spacing in ((0.0, 1.0), (1.0, math.nan), (-1.0, 1.0)):
        with pytest.raises(MeasurementError, match="two positive numbers"):
            fit_ellipse(disc, spacing)


@settings(max_examples=25, deadline=None)
@given(
    semi_major=st.floats(40, 120),
    ratio=st.floats(0.5, 0.95),
    angle=st.floats(-1.5, 1.5),
    spacing=st.sampled_from(SPACINGS),
)
def test_the_equivalent_ellipse_of_an_ellipse_is_itself(
    semi_major: float, ratio: float, angle: float, spacing: tuple[float, float]
) -> None:
    a = semi_major * max(spacing)
    mask, center = ellipse_mask(a, a * ratio, angle, spacing=spacing)
    found = equivalent_ellipse(mask, spacing)
    assert (found.semi_major, found.semi_minor) == pytest.approx((a, a * ratio), rel=0.005)
    assert found.center == pytest.approx(center, abs=0.2 * max(spacing))
    turn = (found.angle - angle + math.pi / 2) % math.pi - math.pi / 2
    assert abs(turn) < math.radians(2)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_equivalent_ellipse_is_scikit_images(seed: int) -> None:
    mask = blob(np.random.default_rng(seed), (40, 50))
    if not mask.any():
        return
    expected = regionprops(label(largest_part(mask)))[0]
    found = equivalent_ellipse(mask)
    assert 2 * found.semi_major == pytest.approx(expected.axis_major_length, rel=1e-6)
    assert 2 * found.semi_minor == pytest.approx(expected.axis_minor_length, rel=1e-6, abs=1e-6)
