"""The thickness of bands and the diameter of vessels against bands that are drawn by formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.shapes import Mask, ellipse_mask
from ultrasam.errors import MeasurementError
from ultrasam.measure.vessel import band_thickness, round_diameter

SPACINGS = st.sampled_from(((0.1, 0.1), (0.06, 0.12), (0.12, 0.07)))


def straight(
    width: float, angle: float, spacing: tuple[float, float], *, across_image: bool
) -> Mask:
    """A band of a width in mm, through an image of 40 × 30 mm or of 30 mm length within it."""
    rows, columns = np.indices((int(30 / spacing[0]), int(40 / spacing[1])))
    x, y = (columns + 0.5) * spacing[1] - 20, (rows + 0.5) * spacing[0] - 15
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    band = np.abs(across) <= width / 2
    return np.asarray(band if across_image else band & (np.abs(along) <= 15))


@settings(max_examples=20)
@given(
    width=st.floats(4.5, 7),
    angle=st.floats(-0.4, 0.4),
    spacing=SPACINGS,
    across_image=st.booleans(),
)
def test_a_straight_vessel_has_its_diameter_within_half_a_percent(
    width: float, angle: float, spacing: tuple[float, float], across_image: bool
) -> None:
    mask = straight(width, angle, spacing, across_image=across_image)
    found = band_thickness(mask, spacing)
    # A border that runs along the pixels is known to half a pixel on either side.
    along = 2 * min(spacing) if abs(angle) < 0.05 else 0.0
    assert found.mean == pytest.approx(width, rel=0.005, abs=max(along, 0.005 * width))
    assert found.smallest <= found.mean * (1 + 1e-9) <= found.largest * (1 + 2e-9)
    assert found.largest - found.smallest < 2.5 * max(spacing)


@settings(max_examples=10)
@given(radius=st.floats(25, 60), width=st.floats(3, 6))
def test_a_bent_vessel_has_its_diameter_within_half_a_percent(radius: float, width: float) -> None:
    """A part of a ring: measured straight down, it would be thicker at its ends."""
    spacing = (0.05, 0.05)
    rows, columns = np.indices((400, 800))
    x, y = (columns + 0.5) * 0.05 - 20, (rows + 0.5) * 0.05 - 3 - width - radius
    distance = np.hypot(x, y)
    ring = (np.abs(distance - radius) <= width / 2) & (np.abs(x) <= 0.6 * radius) & (y < 0)
    found = band_thickness(np.asarray(ring), spacing)
    assert found.mean == pytest.approx(width, rel=0.005)


def test_an_intima_media_complex_of_a_few_pixels_is_measured_to_a_tenth_of_a_pixel() -> None:
    spacing = (0.06, 0.06)
    rows, columns = np.indices((200, 400))
    y = (rows + 0.5 - 100) * 0.06 - 0.05 * (columns - 200) * 0.06
    for thickness in (0.5, 0.7, 0.9):
        found = band_thickness(np.abs(y) <= thickness / 2 * math.hypot(1, 0.05), spacing)
        assert found.mean == pytest.approx(thickness, abs=0.006)
        assert found.length > 20


@settings(max_examples=6)
@given(scale=st.floats(0.05, 20))
def test_thickness_scales_and_turns(scale: float) -> None:
    mask = straight(5, 0.3, (0.1, 0.1), across_image=False)
    first = band_thickness(mask, (0.1, 0.1)).mean
    assert band_thickness(mask, (0.1 * scale, 0.1 * scale)).mean == pytest.approx(scale * first)
    assert band_thickness(np.rot90(mask), (0.1, 0.1)).mean == pytest.approx(first, rel=0.002)


def test_a_round_mask_is_no_band_but_has_a_diameter() -> None:
    mask, _ = ellipse_mask(60, 45)
    with pytest.raises(MeasurementError, match="vessel-transverse"):
        band_thickness(mask)
    assert round_diameter(mask, (0.1, 0.1)) == pytest.approx(2 * math.sqrt(60 * 45) / 10, rel=0.005)
    with pytest.raises(MeasurementError, match="The mask is empty"):
        band_thickness(np.zeros((9, 9), bool))
