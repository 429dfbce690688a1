"""Axes, areas and thickness against analytic shapes, scikit-image and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.distance import cdist
from scipy.special import ellipe
from skimage.measure import find_contours, label, regionprops

from tests.shapes import Mask, blob, ellipse_mask
from ultrasam.errors import MeasurementError
from ultrasam.measure.outline import (
    largest_part,
    outline_points,
    outline_segments,
    smooth_segments,
)
from ultrasam.measure.shape import (
    area,
    extent,
    long_and_short_axis,
    perimeter,
    smooth_outline,
    thickness,
)

SPACINGS = ((1.0, 1.0), (0.308, 0.154), (0.4, 0.9))


def random_part(seed: int) -> Mask | None:
    mask = blob(np.random.default_rng(seed), (40, 50))
    return largest_part(mask) if mask.any() else None


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_outline_is_scikit_images_marching_squares(seed: int) -> None:
    """Of any mask, holes and corners that touch included: the same segments."""
    mask = blob(np.random.default_rng(seed), (20, 30))
    contours = find_contours(np.pad(mask, 1).astype(float), 0.5, fully_connected="high")
    expected = {
        frozenset(((c[k, 1] - 0.5, c[k, 0] - 0.5), (c[k + 1, 1] - 0.5, c[k + 1, 0] - 0.5)))
        for c in contours
        for k in range(len(c) - 1)
    }
    if not mask.any():
        assert not expected
        return
    found = {frozenset(map(tuple, segment.tolist())) for segment in outline_segments(mask)}
    assert found == expected
    assert {p for segment in found for p in segment} == set(
        map(tuple, outline_points(mask).tolist())
    )


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), spacing=st.sampled_from(SPACINGS))
def test_the_long_axis_is_the_greatest_distance_of_two_outline_points(
    seed: int, spacing: tuple[float, float]
) -> None:
    mask = random_part(seed)
    if mask is None:
        return
    points = smooth_segments(mask, spacing).reshape(-1, 2)
    found = long_and_short_axis(mask, spacing)
    # Half a pixel at each end is settled by what is around the ends.
    assert found.long == pytest.approx(cdist(points, points).max(), abs=max(spacing))
    assert 0 < found.short <= found.long * (1 + 1e-9)
    if spacing == (1.0, 1.0):
        # scikit-image measures between the pixels' corners, and its tips are not rounded.
        feret = regionprops(label(mask))[0].feret_diameter_max
        assert found.long - 0.5 <= feret <= found.long + 6


@settings(max_examples=40, deadline=None)
@given(
    semi_minor=st.floats(20, 80),
    ratio=st.floats(0.35, 1),
    angle=st.one_of(st.floats(-1.6, 1.6), st.sampled_from((0.0, 0.02, math.pi / 2))),
    spacing=st.sampled_from(SPACINGS),
    offset=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_the_axes_of_any_ellipse_are_right_to_half_a_percent_or_three_quarters_of_a_pixel(
    semi_minor: float,
    ratio: float,
    angle: float,
    spacing: tuple[float, float],
    offset: tuple[float, float],
) -> None:
    """Also where center and axes lie on the grid of the pixels: then, moments miss half a percent, too."""
    pixel = max(spacing)
    a, b = semi_minor / ratio * pixel, semi_minor * pixel
    mask, _ = ellipse_mask(a, b, angle, spacing=spacing, offset=offset)
    found = long_and_short_axis(mask, spacing)
    assert found.long == pytest.approx(2 * a, abs=max(0.01 * a, 0.75 * pixel))
    assert found.short == pytest.approx(2 * b, abs=max(0.01 * b, 0.75 * pixel))


@pytest.mark.parametrize(
    "spacing",
    [(1.0, 1.0), (0.308, 0.154),
     *(pytest.param(spacing, marks=pytest.mark.slow) for spacing in ((0.4, 0.9), (1.0, 2.0)))],
)  # fmt: skip
def test_the_axes_of_an_ellipse_are_right_to_half_a_percent(spacing: tuple[float, float]) -> None:
    """Of 40 pixels or more, at a random place, also where its outline runs along the pixels.

    Of these ellipses, which are always the same: of all, one in a thousand is a little farther off.
    """
    rng = np.random.default_rng(0)
    pixel = max(spacing)
    for angle in (0.0, 0.02, math.pi / 2, *rng.uniform(-1.5, 1.5, 8)):
        for ratio in (0.35, 0.5, 0.65, 0.8, 0.95, 1.0):
            b = float(rng.uniform(20, 60)) * pixel
            x, y = rng.uniform(0, pixel, 2)
            mask, _ = ellipse_mask(b / ratio, b, float(angle), spacing=spacing, offset=(x, y))
            found = long_and_short_axis(mask, spacing)
            assert found.long == pytest.approx(2 * b / ratio, rel=0.005)
            assert found.short == pytest.approx(2 * b, rel=0.005)


@settings(max_examples=40, deadline=None)
@given(
    semi_major=st.floats(150, 250),
    ratio=st.floats(0.5, 0.95),
    angle=st.floats(-1.5, 1.5),
    spacing=st.sampled_from(SPACINGS),
)
def test_area_and_thickness_of_an_ellipse_are_those_of_its_formula(
    semi_major: float, ratio: float, angle: float, spacing: tuple[float, float]
) -> None:
    pixel = max(spacing)
    a, b = semi_major * pixel, semi_major * ratio * pixel
    mask, _ = ellipse_mask(a, b, angle, spacing=spacing)
    assert area(mask, spacing) == pytest.approx(math.pi * a * b, rel=0.005)
    assert thickness(mask, spacing) == pytest.approx(2 * b, abs=1.5 * pixel)


def test_the_short_axis_is_a_line_within_the_shape_not_the_width_of_its_box() -> None:
    """Of a slanted band, callipers across the long axis measure less than the box around it is wide."""
    rows, columns = np.indices((120, 220))
    band = (np.abs(rows - 60) <= 20) & (np.abs(columns - 110 - (rows - 60)) <= 60)
    corners = np.array([[-80, -20], [40, -20], [80, 20], [-40, 20]])  # (x, y)
    along = np.array([160, 40]) / math.hypot(160, 40)
    across = np.array([-along[1], along[0]])
    # Lines across the long axis within the parallelogram, by clipping them at its four sides.
    longest = 0.0
    for t in np.linspace(-80, 80, 2001):
        crossings = []
        for p, q in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            start, end = p @ along, q @ along
            if min(start, end) <= t <= max(start, end) and start != end:
                crossings.append((p + (q - p) * (t - start) / (end - start)) @ across)
        if len(crossings) >= 2:
            longest = max(longest, max(crossings) - min(crossings))
    found = long_and_short_axis(band)
    assert found.long == pytest.approx(math.hypot(160, 40), abs=3.5)  # its tips are rounded
    assert found.short == pytest.approx(longest, abs=1.5)
    assert found.short < np.ptp(corners @ across) - 5


def test_the_short_axis_of_a_bent_shape_is_the_width_of_its_arm() -> None:
    rows, columns = np.indices((130, 220))
    radius = np.hypot(rows - 120.5, columns - 110.5)
    arch = (radius <= 100) & (radius >= 80) & (rows < 120)
    found = long_and_short_axis(arch)
    assert found.long == pytest.approx(200, abs=1.5)
    # From the inner circle to the outer one, where the line is tangent to the inner one.
    assert found.short == pytest.approx(math.sqrt(100**2 - 80**2), abs=3)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), scale=st.floats(0.05, 20))
def test_scale_turns_and_shifts_do_what_they_should(seed: int, scale: float) -> None:
    mask = random_part(seed)
    if mask is None:
        return
    first = long_and_short_axis(mask, (1, 2))
    for other, factor in (
        (long_and_short_axis(mask, (scale, 2 * scale)), scale),
        (long_and_short_axis(np.pad(mask, ((3, 0), (0, 5))), (1, 2)), 1.0),
        (long_and_short_axis(np.rot90(mask), (2, 1)), 1.0),
    ):
        assert other.long == pytest.approx(factor * first.long, rel=1e-6)
    thick = thickness(mask, (1, 2))
    assert thickness(mask, (scale, 2 * scale)) == pytest.approx(scale * thick, rel=1e-5)
    assert thickness(np.rot90(mask), (2, 1)) == pytest.approx(thick, rel=1e-6)
    assert thickness(np.pad(mask, 4), (1, 2)) == pytest.approx(thick, rel=1e-6)
    assert area(np.rot90(mask), (2, 1)) == area(mask, (1, 2)) == 2 * np.count_nonzero(mask)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7, 10])
def test_a_band_is_as_thick_as_it_has_rows(rows: int) -> None:
    mask = np.zeros((20, 60), bool)
    mask[5 : 5 + rows, 5:55] = True
    assert thickness(mask) == pytest.approx(rows, rel=1e-6)
    assert thickness(mask, (0.25, 0.5)) == pytest.approx(rows / 4, rel=1e-6)
    assert thickness(mask[5 : 5 + rows]) == pytest.approx(
        rows, rel=1e-6
    )  # the image ends there, too


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_thickness_is_the_same_in_square_pixels_by_opencv_and_by_scipy(seed: int) -> None:
    mask = blob(np.random.default_rng(seed), (25, 35))
    nearly_square = (1.0, 1.0 + 1e-9)  # SciPy's distances
    assert thickness(mask) == pytest.approx(thickness(mask, nearly_square), rel=1e-5)


def test_what_has_no_axes_is_refused_and_nothing_is_not_thick() -> None:
    empty = np.zeros((9, 9), bool)
    with pytest.raises(MeasurementError, match="The mask is empty"):
        long_and_short_axis(empty)
    assert thickness(empty) == area(empty) == 0
    with pytest.raises(MeasurementError, match="two positive numbers"):
        area(empty, (1.0, 0.0))


def test_a_single_pixel_is_a_pixel_long_and_wide() -> None:
    mask = np.zeros((9, 9), bool)
    mask[4, 4] = True
    found = long_and_short_axis(mask)
    assert (found.long, found.short) == (pytest.approx(1, abs=0.2), pytest.approx(1, abs=0.2))


def test_the_axes_of_small_ellipses_are_not_too_large_on_average() -> None:
    """At the edges of a staircase, they would be by half a pixel."""
    errors = []
    for number, angle in enumerate(np.linspace(-1.5, 1.5, 24)):
        a, b = 14 + number / 3, 9 + number / 7
        found = long_and_short_axis(ellipse_mask(a, b, float(angle), offset=(0.3, 0.1))[0])
        errors.append((found.long - 2 * a, found.short - 2 * b))
    assert np.abs(np.mean(errors, axis=0)).max() < 0.25


@settings(max_examples=25, deadline=None)
@given(
    semi_major=st.floats(30, 150),
    ratio=st.floats(0.5, 1),
    angle=st.floats(-1.5, 1.5),
    spacing=st.sampled_from(SPACINGS),
)
def test_the_perimeter_of_an_ellipse_is_right_to_half_a_percent(
    semi_major: float, ratio: float, angle: float, spacing: tuple[float, float]
) -> None:
    a = semi_major * max(spacing)
    mask, _ = ellipse_mask(a, a * ratio, angle, spacing=spacing)
    assert perimeter(mask, spacing) == pytest.approx(4 * a * ellipe(1 - ratio**2), rel=0.005)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), scale=st.floats(0.05, 20))
def test_the_perimeter_scales_and_ignores_holes(seed: int, scale: float) -> None:
    mask = random_part(seed)
    if mask is None:
        return
    first = perimeter(mask, (1, 2))
    assert perimeter(mask, (scale, 2 * scale)) == pytest.approx(scale * first, rel=1e-6)
    assert perimeter(np.rot90(mask), (2, 1)) == pytest.approx(first, rel=1e-4)
    assert perimeter(np.pad(mask, 3), (1, 2)) == pytest.approx(first, rel=1e-6)
    # No curve around an area is shorter than a circle; half a pixel is the outline's own doubt.
    around = 2 * math.sqrt(math.pi * np.count_nonzero(mask))
    assert perimeter(mask) >= around * 0.93 - 1


def test_the_perimeter_of_a_rectangle_is_rounded_at_its_corners_only() -> None:
    rows, columns = np.indices((600, 600))
    for angle in (0.0, 0.2, 0.4, 0.7):
        along = (columns - 300) * math.cos(angle) + (rows - 300) * math.sin(angle)
        across = (rows - 300) * math.cos(angle) - (columns - 300) * math.sin(angle)
        mask = (np.abs(along) <= 200) & (np.abs(across) <= 120)
        assert perimeter(mask) == pytest.approx(1280, rel=0.005)


def test_the_extent_is_that_of_the_box_and_the_depth_from_the_surface() -> None:
    mask = np.zeros((60, 80), bool)
    mask[20:50, 10:70] = True
    found = extent(mask, (0.5, 0.25), surface=4)
    assert (found.width, found.height, found.top, found.bottom) == (15, 15, 8, 23)
    with pytest.raises(MeasurementError, match="The mask is empty"):
        extent(np.zeros((9, 9), bool))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), spacing=st.sampled_from(SPACINGS), angle=st.floats(-1.5, 1.5))
def test_the_ends_of_the_axes_are_on_the_outline_and_as_far_apart_as_the_axes_are_long(
    seed: int, spacing: tuple[float, float], angle: float
) -> None:
    rng = np.random.default_rng(seed)
    a = rng.uniform(20, 60) * max(spacing)
    b = a * rng.uniform(0.4, 0.8)
    mask, center = ellipse_mask(a, b, angle, spacing=spacing)
    axes = long_and_short_axis(mask, spacing)
    pixel = max(spacing)
    for ends, length, other in ((axes.long_ends, axes.long, b), (axes.short_ends, axes.short, a)):
        assert ends is not None
        first, second = np.array(ends)
        assert np.hypot(*(second - first)) == pytest.approx(length, abs=1.5 * pixel)
        # An ellipse's axes cross in its center; the position along the other axis is the weak one.
        assert np.hypot(*((first + second) / 2 - center)) < 0.15 * other + pixel
        for end in (first, second):
            assert cdist([end], outline_points(mask, spacing)).min() < 1.5 * pixel
    directions = [np.subtract(*ends) for ends in (axes.long_ends, axes.short_ends)]  # type: ignore[misc]
    assert abs(directions[0] @ directions[1]) < 1e-6 * np.hypot(*directions[0]) * a


def test_the_ends_of_the_axes_of_a_bar_are_its_own() -> None:
    mask = np.zeros((50, 120), bool)
    mask[20:31, 10:110] = True
    axes = long_and_short_axis(mask, (2.0, 0.5))
    assert axes.long_ends is not None
    across = sorted(x for x, _ in axes.long_ends)
    assert across == pytest.approx([5, 55], abs=1)
    assert all(40 - 1 <= y <= 62 + 1 for _, y in axes.long_ends)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("rows", range(1, 13))
def test_an_outline_is_smoothed_by_a_quarter_of_the_thickness_at_most(
    rows: int, spacing: tuple[float, float]
) -> None:
    """The greatest depth decides, which is not measured where it is more than enough."""
    mask = np.zeros((40, 60), bool)
    mask[10 : 10 + rows, 5:50] = True
    depth = ndimage.distance_transform_edt(np.pad(mask, 1)).max()
    deviation = max(spacing) * min(1.5, (2 * depth - 1) / 4)
    smooth = ndimage.gaussian_filter(
        np.pad(mask, 20).astype(float), deviation / np.array(spacing), truncate=6
    )
    length = math.pi / 2 * (rows * spacing[0] + 45 * spacing[1])
    level = 0.5 - math.sqrt(math.pi / 2) * deviation / length
    expected = np.concatenate(find_contours(smooth, level))[:, ::-1] - 19.5
    found = smooth_segments(mask, spacing).reshape(-1, 2) / spacing[::-1]
    assert cdist(found, expected).min(axis=1).max() < 0.03
    assert cdist(expected, found).min(axis=1).max() < 0.03


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), spacing=st.sampled_from(SPACINGS))
def test_what_is_measured_on_a_known_outline_is_the_same(
    seed: int, spacing: tuple[float, float]
) -> None:
    mask = random_part(seed)
    if mask is None:
        return
    outline = smooth_outline(mask, spacing)
    assert perimeter(mask, spacing, outline=outline) == perimeter(mask, spacing)
    assert long_and_short_axis(mask, spacing, outline=outline) == long_and_short_axis(mask, spacing)


def test_the_long_axis_has_its_direction() -> None:
    for angle in (-1.2, -0.4, 0.0, 0.7, 1.4):
        mask, _ = ellipse_mask(60, 20, angle, spacing=(0.5, 1.0))
        assert long_and_short_axis(mask, (0.5, 1.0)).angle == pytest.approx(angle, abs=0.05)
