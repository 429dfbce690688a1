from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultrasam.errors import PromptError
from ultrasam.geometry import ViewTransform
from ultrasam.model.preprocessing import Preprocessor

sides = st.integers(1, 900)


@given(height=sides, width=sides, x=st.floats(0, 1), y=st.floats(0, 1))
def test_points_map_to_the_model_and_back(height: int, width: int, x: float, y: float) -> None:
    box = ViewTransform.full(height, width, size=256)
    point = np.array([x * width, y * height])
    assert np.allclose(box.points_to_scan(box.points_to_model(point)), point, atol=1e-6)


@given(height=sides, width=sides)
def test_the_scans_corners_are_the_corners_of_the_unpadded_input(height: int, width: int) -> None:
    box = ViewTransform.full(height, width, size=128)
    inner_height, inner_width = box.resized_shape
    assert max(box.resized_shape) == 128
    assert np.allclose(box.points_to_model([0, 0]), [0, 0])
    assert np.allclose(box.points_to_model([width, height]), [inner_width, inner_height])
    resized = Preprocessor(size=128).resized(np.zeros((height, width), np.uint8), box)
    assert resized.shape == box.resized_shape


@given(
    height=st.integers(20, 400),
    width=st.integers(20, 400),
    corners=st.tuples(*[st.floats(0, 1)] * 4),
    margin=st.floats(1.0, 4.0),
)
def test_a_zoomed_view_is_square_and_holds_the_middle_of_its_box(
    height: int, width: int, corners: tuple[float, float, float, float], margin: float
) -> None:
    xs, ys = sorted((corners[0] * width, corners[2] * width)), sorted((corners[1], corners[3]))
    box = np.array([xs[0], ys[0] * height, xs[1], ys[1] * height])
    view = ViewTransform.full(height, width, size=64).crop_around(box, margin=margin)
    assert view.right - view.left == view.bottom - view.top <= max(height, width)
    middle = view.points_to_model([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
    assert (middle >= -1e-6).all()
    assert (middle <= 64 + 1e-6).all()


@given(
    height=st.integers(4, 300),
    width=st.integers(4, 300),
    corners=st.tuples(*[st.floats(0, 1)] * 4),
    zoomed=st.booleans(),
)
def test_a_mirrored_view_is_the_view_of_the_mirrored_frame(
    height: int, width: int, corners: tuple[float, float, float, float], zoomed: bool
) -> None:
    xs, ys = sorted((corners[0] * width, corners[2] * width)), sorted((corners[1], corners[3]))
    box = np.array([xs[0], ys[0] * height, xs[1], ys[1] * height])
    view = ViewTransform.full(height, width, size=64)
    if zoomed:
        view = view.crop_around(box, margin=1.5)
    mirrored = view.hflip()
    assert mirrored.hflip() == view

    frame = np.random.default_rng(0).integers(0, 255, (height, width), np.uint8)
    resized = Preprocessor(size=64).resized
    plain, turned = resized(frame, view), resized(frame, mirrored)
    assert np.abs(plain[:, ::-1].astype(int) - turned).max() <= 1

    there = mirrored.points_to_model(box.reshape(2, 2))
    assert np.allclose(mirrored.points_to_scan(there), box.reshape(2, 2))
    assert np.allclose(
        view.points_to_model(box.reshape(2, 2))[:, 0], view.resized_shape[1] - there[:, 0]
    )
    x0, y0, x1, y1 = mirrored.boxes_to_model(box)
    assert x0 <= x1
    assert y0 <= y1
    assert np.allclose(sorted([x0, x1]), sorted(there[:, 0]))


def test_what_lies_on_the_left_of_a_mirrored_input_is_on_the_right_of_the_scan() -> None:
    view = ViewTransform.full(100, 200, size=64).hflip()
    square = np.full((16, 16), -5.0, np.float32)
    square[:8, :4] = 5.0
    full = view.logits_to_scan(square)
    assert full[50, 160:].min() > 0
    assert full[50, :140].max() < 0
    back = view.logits_to_model(full, size=16)
    assert np.allclose(back[:8] > 0, square[:8] > 0)


def test_logits_of_a_zoomed_view_land_where_the_view_is() -> None:
    view = ViewTransform.full(200, 300, size=64).crop_around([60, 40, 100, 80], margin=1.0)
    full = view.logits_to_scan(np.full((16, 16), 3.0, np.float32))
    assert full.shape == (200, 300)
    inside = full > 0
    assert inside[40:80, 60:100].all()
    assert inside.sum() == 40 * 40


def test_a_mask_survives_the_mapping_to_the_input_and_back() -> None:
    y, x = np.mgrid[0:200, 0:300]
    disc = (x - 150) ** 2 + (y - 100) ** 2 < 60**2
    logits = np.where(disc, 5.0, -5.0).astype(np.float32)
    whole = ViewTransform.full(200, 300, size=256)
    back = whole.logits_to_scan(whole.logits_to_model(logits, size=64)) > 0
    assert 2 * (back & disc).sum() / (back.sum() + disc.sum()) > 0.98


def test_a_frame_of_another_size_is_refused() -> None:
    with pytest.raises(PromptError, match="set_image"):
        ViewTransform.full(10, 10, size=64).crop(np.zeros((10, 11), np.uint8))


@given(height=sides, width=sides, x=st.floats(0, 1), y=st.floats(0, 1))
def test_a_stretched_view_fills_the_square_and_goes_back(
    height: int, width: int, x: float, y: float
) -> None:
    view = ViewTransform.full(height, width, size=256, stretch=True)
    assert view.resized_shape == (256, 256)
    assert np.allclose(view.points_to_model([width, height]), [256, 256])
    point = np.array([x * width, y * height])
    assert np.allclose(view.points_to_scan(view.points_to_model(point)), point, atol=1e-6)
    full = view.logits_to_scan(np.full((64, 64), 3.0, np.float32))
    assert full.shape == (height, width)
    assert (full > 0).all()


@given(height=sides, width=sides)
def test_coverage_is_the_fraction_of_each_patch_that_the_view_covers(
    height: int, width: int
) -> None:
    view = ViewTransform.full(height, width, size=128)
    shown = np.zeros((128, 128))
    shown[: view.resized_shape[0], : view.resized_shape[1]] = 1
    expected = shown.reshape(8, 16, 8, 16).mean(axis=(1, 3))
    assert np.allclose(view.coverage(16), expected)
