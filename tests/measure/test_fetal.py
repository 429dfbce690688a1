"""Fetal biometry against analytic ellipses and SciPy's elliptic integral."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ellipe

from tests.shapes import ellipse_mask
from ultrasam.measure.fetal import abdominal_circumference, fetal_head


@settings(max_examples=10)
@given(
    occipitofrontal=st.floats(60, 120),
    index=st.floats(0.65, 0.95),
    angle=st.floats(-1.5, 1.5),
    spacing=st.sampled_from(((0.3, 0.3), (0.308, 0.154), (0.2, 0.45))),
)
def test_a_head_has_its_circumference_and_diameters_within_half_a_percent(
    occipitofrontal: float, index: float, angle: float, spacing: tuple[float, float]
) -> None:
    a = occipitofrontal / 2
    mask, _ = ellipse_mask(a, a * index, angle, spacing=spacing)
    found = fetal_head(mask, spacing)
    assert found.circumference == pytest.approx(4 * a * ellipe(1 - index**2), rel=0.005)
    assert found.occipitofrontal == pytest.approx(2 * a, rel=0.005)
    assert found.biparietal == pytest.approx(2 * a * index, rel=0.005)
    assert found.cephalic_index == pytest.approx(100 * index, rel=0.005)
    assert abdominal_circumference(mask, spacing) == found.circumference


def test_a_skull_that_is_only_an_outline_is_measured_as_a_filled_one() -> None:
    filled, _ = ellipse_mask(80, 60, 0.4)
    inner, _ = ellipse_mask(76, 56, 0.4)
    rows, columns = ((n - m) // 2 for n, m in zip(filled.shape, inner.shape, strict=True))
    outline = filled.copy()
    outline[rows : rows + inner.shape[0], columns : columns + inner.shape[1]] &= ~inner
    assert fetal_head(outline).circumference == fetal_head(filled).circumference


def test_the_common_formula_is_too_small_as_documented() -> None:
    a, b = 50.0, 35.0
    exact = 4 * a * ellipe(1 - (b / a) ** 2)
    assert exact / (math.pi * (a + b)) - 1 == pytest.approx(0.008, abs=0.0005)


def test_a_head_that_the_image_cuts_off_is_still_measured_by_its_ellipse() -> None:
    mask, _ = ellipse_mask(80, 60)
    cut = mask[:, : int(mask.shape[1] * 0.8)]
    assert np.count_nonzero(cut) < np.count_nonzero(mask)
    assert fetal_head(cut).circumference == pytest.approx(fetal_head(mask).circumference, rel=0.005)
