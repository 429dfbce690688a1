"""Discs, volumes, beats and ejection fractions against solids and curves that are known by formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.shapes import Mask, ellipse_mask
from ultrasam.errors import MeasurementError
from ultrasam.measure.cycle import Beat, find_beats
from ultrasam.measure.ventricle import (
    biplane_volume,
    discs,
    ejection_fraction,
    single_plane_volume,
)

SPACINGS = st.sampled_from(((0.3, 0.3), (0.154, 0.308), (0.308, 0.154)))


def bullet(
    length: float, radius: float, angle: float = 0.0, spacing: tuple[float, float] = (0.3, 0.3)
) -> Mask:
    """Half an ellipse, with a flat base: the long axis as long as its semi-axis, the base's radius the other.

    The apex is at the top for an angle of 0.
    """
    reach = 1.2 * math.hypot(length, 2 * radius)
    shape = [int(reach / step) for step in spacing]
    rows, columns = np.indices(shape)
    x = (columns + 0.5) * spacing[1] - reach / 2
    y = (rows + 0.5) * spacing[0] - reach / 2
    along = x * math.sin(angle) + y * math.cos(angle) + length / 2  # from the apex to the base
    across = x * math.cos(angle) - y * math.sin(angle)
    inside = ((length - along) / length) ** 2 + (across / radius) ** 2 <= 1
    return np.asarray(inside & (along >= 0) & (along <= length))


@settings(max_examples=10)
@given(
    length=st.floats(60, 95),
    ratio=st.floats(0.45, 0.8),
    angle=st.floats(-1.5, 1.5),
    spacing=SPACINGS,
)
def test_a_spheroid_has_its_volume_within_half_a_percent(
    length: float, ratio: float, angle: float, spacing: tuple[float, float]
) -> None:
    a, b = length / 2, length / 2 * ratio
    view = discs(ellipse_mask(a, b, angle, spacing=spacing)[0], spacing)
    assert view.length == pytest.approx(length, rel=0.005)
    assert len(view.diameters) == 20
    assert single_plane_volume(view) == pytest.approx(4 / 3 * math.pi * a * b * b, rel=0.005)


@settings(max_examples=6)
@given(
    length=st.floats(70, 95),
    radii=st.tuples(st.floats(18, 26), st.floats(18, 26)),
    angles=st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)),
    upside_down=st.booleans(),
)
def test_half_an_ellipsoid_in_two_views_has_its_volume_within_half_a_percent(
    length: float, radii: tuple[float, float], angles: tuple[float, float], upside_down: bool
) -> None:
    """Its cuts are ellipses of both radii; the second view may show the apex at the bottom."""
    first = bullet(length, radii[0], angles[0])
    second = bullet(length, radii[1], angles[1], (0.25, 0.35))
    second = second[::-1] if upside_down else second
    found = biplane_volume(discs(first, (0.3, 0.3)), discs(second, (0.25, 0.35)))
    assert found == pytest.approx(2 / 3 * math.pi * length * radii[0] * radii[1], rel=0.005)


def test_diameters_run_from_the_apex_to_the_base() -> None:
    for angle in (0.0, math.pi, 2.5):
        view = discs(bullet(80, 22, angle), (0.3, 0.3))
        assert view.diameters[0] < view.diameters[10] < view.diameters[-1]


def test_the_longer_axis_of_two_views_counts() -> None:
    short, long = discs(bullet(70, 20), (0.3, 0.3)), discs(bullet(80, 20), (0.3, 0.3))
    assert biplane_volume(short, long) == biplane_volume(long, short)
    assert biplane_volume(short, long) == pytest.approx(single_plane_volume(long), rel=0.01)


def test_what_cannot_be_cut_is_refused() -> None:
    with pytest.raises(MeasurementError, match="shorter than 20 pixels"):
        discs(ellipse_mask(8, 5)[0])
    with pytest.raises(MeasurementError, match="The mask is empty"):
        discs(np.zeros((40, 40), bool))
    fine, coarse = (discs(bullet(80, 22), (0.3, 0.3), count=count) for count in (20, 10))
    with pytest.raises(MeasurementError, match="20 discs, the other 10"):
        biplane_volume(fine, coarse)


def test_an_ejection_fraction_is_the_share_that_leaves() -> None:
    assert ejection_fraction(120, 48) == pytest.approx(60)
    assert ejection_fraction(100, 100) == 0
    with pytest.raises(MeasurementError, match="must be positive"):
        ejection_fraction(0, 0)


@settings(max_examples=60)
@given(
    period=st.integers(12, 40),
    beats=st.integers(3, 5),
    phase=st.floats(0, 1),
    depth=st.floats(0.2, 0.6),
    noise=st.floats(0, 0.02),
    seed=st.integers(0, 2**32),
)
def test_end_diastole_and_end_systole_are_the_extremes_of_each_whole_beat(
    period: int, beats: int, phase: float, depth: float, noise: float, seed: int
) -> None:
    frames = np.arange(beats * period)
    angle = 2 * np.pi * (frames / period + phase)
    curve = 5000 * (1 - depth / 2 + depth / 2 * np.cos(angle))
    curve *= 1 + noise * np.random.default_rng(seed).uniform(-1, 1, len(curve)) * depth
    found = find_beats(curve)
    assert beats - 2 <= len(found) <= beats
    for beat in found:
        # Both lie within a fifth of a period of where the cosine has its extremes.
        for frame, extreme in ((beat.end_diastole, 0.0), (beat.end_systole, 0.5)):
            away = (frame / period + phase - extreme + 0.5) % 1 - 0.5
            assert abs(away) <= 0.2
        assert beat.end_diastole < beat.end_systole


def test_half_a_cycle_is_one_beat() -> None:
    assert find_beats([100, 98, 90, 75, 62, 55, 54]) == [Beat(0, 6)]
    assert find_beats([100, 60]) == [Beat(0, 1)]
    assert find_beats([54, 60, 80, 95, 100]) == [Beat(4, 0)]  # only diastole


def test_frames_without_the_cavity_and_single_bad_masks_are_no_beats() -> None:
    curve = np.array([100, 99, 95, 90, 80, 70, 62, 60, 61, 66, 75, 88, 97, 100, 99.0])
    curve[3], curve[10] = np.nan, 5  # one mask missing, one wrong
    (beat,) = find_beats(curve)
    assert beat.end_diastole == 0
    assert beat.end_systole in (7, 8)


def test_a_curve_without_a_beat_is_refused() -> None:
    with pytest.raises(MeasurementError, match=r"changes by 1.0%"):
        find_beats([100, 99, 98, 99, 100])
    with pytest.raises(MeasurementError, match="outlined in 1 of 3 frames"):
        find_beats([np.nan, 80, 0])
