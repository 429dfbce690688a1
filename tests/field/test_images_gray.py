"""One gray scale for all frames of a scan, whatever their type and range."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ultrasam.datasets.annotated_image import CaseImage
from ultrasam.datasets.file_tree import FileEntry
from ultrasam.datasets.readers.arrays import _read_arrays
from ultrasam.datasets.readers.paired_images import MaskOptions
from ultrasam.errors import ScanError
from ultrasam.images.pixels import GrayScale, to_uint8
from ultrasam.images.scan import Scan

Pixels = npt.NDArray[Any]


def ramp(top: float, kind: type = np.float32) -> Pixels:
    return np.linspace(0, top, 4800).reshape(60, 80).astype(kind)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    ("top", "mean"), [(1.0, 127.5), (0.5, 63.75), (1.04, 131.9), (255.0, 127.5), (262.0, 130.4)]
)
def test_floats_are_in_0_to_1_or_0_to_255_even_if_they_exceed_it_a_little(
    kind: type, top: float, mean: float
) -> None:
    assert to_uint8(ramp(top, kind)).mean() == pytest.approx(mean, abs=0.6)


@pytest.mark.parametrize("outlier", [1.02, 1.5, 3e4, -0.02, -3e4])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_one_pixel_out_of_range_does_not_change_the_others(outlier: float, kind: type) -> None:
    pixels = ramp(1, kind)
    expected = to_uint8(pixels)
    pixels[30, 40] = outlier
    shown = Scan.from_array(pixels).frame()
    assert shown[30, 40] == (255 if outlier > 0 else 0)
    shown[30, 40] = expected[30, 40]
    assert np.array_equal(shown, expected)


@pytest.mark.parametrize("kind", [np.uint16, np.int16, np.uint32, np.int32, np.int64])
@pytest.mark.parametrize(
    ("top", "white"),
    [
        (255, 255),
        (270, 1023),
        (1000, 1023),
        (1040, 4095),
        (4095, 4095),
        (5000, 16383),
        (20000, 65535),
    ],
)
def test_integers_are_scaled_by_the_bits_that_hold_them(kind: type, top: int, white: int) -> None:
    pixels = ramp(top, kind)
    assert np.array_equal(to_uint8(pixels), (pixels * (255 / white) + 0.5).astype(np.uint8))


def test_a_hot_pixel_does_not_darken_an_image_of_ten_bits() -> None:
    pixels = ramp(1000, np.uint16)
    pixels[30, 40] = 65535
    assert int(to_uint8(pixels)[59, 70]) == round(998 * 255 / 1023)


def test_bits_that_the_file_states_count_unless_values_exceed_them() -> None:
    pixels = ramp(900, np.uint16)
    assert GrayScale.of(pixels, bits=12) == GrayScale(0, 4095)
    assert GrayScale.of(pixels, bits=9) == GrayScale(0, 1023)
    assert GrayScale.of(pixels, bits=16) == GrayScale(0, 1023)


def test_frames_share_the_scale_of_the_brightest() -> None:
    frames = [np.full((40, 50), value, np.uint16) for value in (1000, 1040)]
    scale = GrayScale.of(*frames)
    assert [int(scale(frame)[0, 0]) for frame in frames] == [62, 65]


def test_signed_values_are_stretched_over_their_range() -> None:
    pixels = ramp(300, np.int16) - np.int16(100)
    shown = to_uint8(pixels)
    assert (int(shown[0, 0]), int(shown[-1, -1])) == (0, 255)
    assert int(shown[pixels == 0][0]) == pytest.approx(85, abs=1)


def test_images_of_a_numpy_stack_share_a_gray_scale(tmp_path: Path) -> None:
    stack = np.zeros((3, 40, 50), np.uint16)
    stack[:, :, 10:] = np.array([1000, 1040, 100])[:, None, None]
    for name, values in (("images", stack), ("masks", stack > 0)):
        np.save(tmp_path / f"{name}.npy", values)
    entries = [
        FileEntry(f"{name}.npy", (str(tmp_path / f"{name}.npy"),), 1, 0)
        for name in ("images", "masks")
    ]
    found = list(_read_arrays(entries[0], entries[1], "lesion", MaskOptions()))
    assert all(isinstance(image, CaseImage) for image in found)
    shown = [int(image.pixels[0, 20]) for image in found if isinstance(image, CaseImage)]
    assert shown == [62, 65, 6]


@given(
    st.lists(st.integers(0, 65535), min_size=2, max_size=40),
    st.sampled_from([np.uint8, np.uint16, np.float32, np.float64]),
)
def test_a_brighter_pixel_is_never_shown_darker(values: list[int], kind: type) -> None:
    pixels = np.sort(np.array(values).astype(kind))[None]
    shown = to_uint8(pixels).astype(int)
    assert (np.diff(shown) >= 0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    pixels = ramp(1)
    pixels[30, 40] = bad
    with pytest.raises(ScanError, match="not finite numbers; replace NaN and infinity"):
        Scan.from_array(pixels)
