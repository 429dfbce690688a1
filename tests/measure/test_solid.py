"""Volumes of solids against ellipsoids that are cut by formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.shapes import Mask, ellipse_mask
from ultrasam.errors import MeasurementError
from ultrasam.measure.solid import ELLIPSOID, THYROID_LOBE, lesion_axes, organ_axes

SPACINGS = st.sampled_from(((0.2, 0.2), (0.308, 0.154), (0.2, 0.45)))


def cut(
    width: float, height: float, spacing: tuple[float, float], offset: tuple[float, float]
) -> Mask:
    """An axis-parallel plane through an ellipsoid: (width, height) are its axes there, in mm."""
    a, b = max(width, height) / 2, min(width, height) / 2
    angle = 0.0 if width >= height else math.pi / 2
    return ellipse_mask(a, b, angle, spacing=spacing, offset=offset)[0]


@settings(max_examples=10)
@given(
    length=st.floats(45, 90),
    width=st.floats(40, 80),
    height=st.floats(40, 80),
    spacings=st.tuples(SPACINGS, SPACINGS),
    offset=st.tuples(st.floats(-0.1, 0.1), st.floats(-0.1, 0.1)),
)
def test_an_ellipsoid_in_two_planes_has_its_volume_within_half_a_percent(
    length: float,
    width: float,
    height: float,
    spacings: tuple[tuple[float, float], tuple[float, float]],
    offset: tuple[float, float],
) -> None:
    if length < height + 2 or abs(width - height) < 2:
        return  # nearly round: callipers may turn
    sagittal = cut(length, height, spacings[0], offset)
    transverse = cut(width, height, spacings[1], offset)
    found = organ_axes(
        sagittal, transverse, sagittal_spacing=spacings[0], transverse_spacing=spacings[1]
    )
    axes = (found.length, found.width, found.height)
    assert axes == pytest.approx((length, width, height), rel=0.005, abs=max(*spacings[1]))
    # One pixel in each of three axes is as much as half a percent.
    volume = math.pi / 6 * length * width * height
    assert found.volume() == pytest.approx(volume, rel=0.005 + max(*spacings[1]) / 40)
    lesion = lesion_axes(
        sagittal, transverse, first_spacing=spacings[0], second_spacing=spacings[1]
    )
    assert lesion.volume() == pytest.approx(volume, rel=0.005 + max(*spacings[1]) / 40)


def test_a_fine_ellipsoid_has_its_volume_within_half_a_percent() -> None:
    spacing = (0.05, 0.05)
    found = organ_axes(
        cut(60, 30, spacing, (0.0, 0.0)), cut(44, 30, spacing, (0.01, 0.02)),
        sagittal_spacing=spacing, transverse_spacing=spacing,
    )  # fmt: skip
    assert found.volume() == pytest.approx(math.pi / 6 * 60 * 44 * 30, rel=0.005)
    assert found.volume(THYROID_LOBE) == pytest.approx(0.479 * 60 * 44 * 30, rel=0.005)
    assert pytest.approx(math.pi / 6) == ELLIPSOID


def test_a_lesion_that_is_taller_than_wide_keeps_its_width() -> None:
    """Its second plane's short axis is the horizontal one."""
    spacing = (0.1, 0.1)
    first, second = cut(30, 20, spacing, (0, 0)), cut(12, 20, spacing, (0, 0))
    found = lesion_axes(first, second, first_spacing=spacing, second_spacing=spacing)
    assert (found.length, found.height, found.width) == pytest.approx((30, 20, 12), abs=0.15)


def test_an_empty_plane_is_refused() -> None:
    disc = cut(20, 18, (1, 1), (0, 0))
    with pytest.raises(MeasurementError, match="The mask is empty"):
        organ_axes(disc, np.zeros((5, 5), bool), sagittal_spacing=(1, 1), transverse_spacing=(1, 1))
