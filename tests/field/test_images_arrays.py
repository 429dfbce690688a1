"""Arrays and images that are handed over in Python, of the types and ranges that other libraries give."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from ultrasam.errors import PromptError, ScanError, UltraSamWarning
from ultrasam.images.pixels import to_uint8
from ultrasam.images.reading import read_scan
from ultrasam.images.scan import Scan
from ultrasam.prompts import Prompt

Pixels = npt.NDArray[Any]


def speckle(height: int = 200, width: int = 240) -> Pixels:
    """Like a B-mode image: a bright disc with speckle of some pixels' size, 0–255."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).rayleigh(size=(height, width))
    disc = 30 + 90 * ((y - 90) ** 2 + (x - 120) ** 2 < 60**2)
    return np.clip(cv2.GaussianBlur(disc * noise, (0, 0), 1.5), 0, 255)


@pytest.mark.parametrize("top", [1.3, 2.0, 5.545, 11.0])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_floats_in_a_unit_of_their_own_are_not_shown_black(top: float, kind: type) -> None:
    pixels = np.linspace(0, top, 4800).reshape(60, 80).astype(kind)
    shown = to_uint8(pixels)
    assert (int(shown.min()), int(shown.max())) == (0, 255)
    assert shown.mean() == pytest.approx(127.5, abs=1)


@pytest.mark.parametrize("top", [2, 7, 16, 100])
def test_whole_numbers_as_floats_are_gray_levels(top: int) -> None:
    pixels = (np.arange(4800).reshape(60, 80) % (top + 1)).astype(np.float32)
    assert np.array_equal(to_uint8(pixels), pixels)


@pytest.mark.parametrize(
    "filtered",
    [
        lambda p: cv2.Laplacian(p, cv2.CV_64F),
        lambda p: cv2.Sobel(p, cv2.CV_64F, 0, 2).astype(np.int16),
        lambda p: p - cv2.GaussianBlur(p, (0, 0), 3),
        lambda p: p - np.roll(p, 2, 0),
    ],
)
def test_an_image_that_was_filtered_is_shown_and_questioned(tmp_path: Path, filtered: Any) -> None:
    pixels = filtered(speckle())
    with pytest.warns(UltraSamWarning, match="swing about zero, as those of a derivative"):
        shown = to_uint8(pixels)
    Image.fromarray(pixels.astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.warns(UltraSamWarning, match="swing about zero"):
        assert np.abs(read_scan(tmp_path / "a.tif").frame().astype(int) - shown).max() <= 1
    assert (int(shown.min()), int(shown.max())) == (0, 255)


def test_radiofrequency_data_that_was_moved_to_be_positive_is_refused() -> None:
    rng = np.random.default_rng(0)
    lines = np.sin(np.arange(300) * 2 * np.pi / 5.3 + rng.normal(0, 0.3, (40, 300)))
    echoes = lines * rng.rayleigh(200, (40, 1))
    with pytest.raises(ScanError, match="swing about the middle of 16 bits along a line"):
        to_uint8((echoes + 32768).astype(np.uint16))
    bright = np.clip(speckle() * 100 + 20_000, 0, 65535).astype(np.uint16)
    assert to_uint8(bright - int(np.median(bright)) + 32768).std() > 5


@pytest.mark.parametrize(
    "changed",
    [
        lambda p: (p - p.mean()) / p.std(),
        lambda p: p / 127.5 - 1,
        lambda p: (p - 128).astype(np.int8),
        lambda p: np.where(p > 100, np.sin(np.arange(p.shape[1]) / 13), 0),  # a map of velocities
    ],
)
def test_an_image_with_negative_values_is_shown_without_a_word(changed: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown = to_uint8(changed(speckle()))
    assert (int(shown.min()), int(shown.max())) == (0, 255)


@pytest.mark.parametrize(
    "mode", ["L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "HSV", "I;16", "F"]
)
def test_a_pillow_image_is_taken_as_it_looks(mode: str) -> None:
    levels = speckle().astype(np.uint8)
    if mode == "I;16":
        image = Image.fromarray(levels.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(levels).convert(mode)
    shown = Scan.from_array(image).frame()
    gray = shown if shown.ndim == 2 else shown.mean(axis=2)
    assert np.abs(gray - levels).mean() < 1


def test_a_transparent_pillow_image_is_blended_with_black() -> None:
    rgba = np.full((20, 30, 4), 200, np.uint8)
    rgba[:, 15:, 3] = 0
    shown = Scan.from_array(Image.fromarray(rgba)).frame()
    assert (shown[0, 0].tolist(), shown[0, 20].tolist()) == ([157] * 3, [0] * 3)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (
            None,
            "None is not a frame; if cv2.imread returned it, the file could not be read",
        ),
        ([[1, 2], [3]], "list cannot be converted to an array"),
        (torch.zeros(9, 9, requires_grad=True), "Tensor cannot be converted to an array: .*detach"),
        (torch.zeros(9, 9, dtype=torch.bfloat16), "Tensor cannot be converted .*BFloat16"),
        (np.ma.array(np.ones((9, 9)), mask=np.eye(9)), "Some pixels are masked; fill them"),
    ],
)
def test_what_is_no_array_is_refused_in_a_sentence(given: Any, reason: str) -> None:
    with pytest.raises(ScanError, match=reason):
        Scan.from_array(given)


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (torch.zeros(9, 9, requires_grad=True), "mask cannot be converted to an array: .*detach"),
        (np.eye(9) + 1j, "must be numbers, not of the type complex128"),
        (np.eye(9).astype(str), "must be numbers, not of the type <U"),
        ("mask.png", "must be numbers, not of the type <U8"),
    ],
)
def test_a_mask_prompt_that_is_no_array_is_refused_in_a_sentence(mask: Any, reason: str) -> None:
    with pytest.raises(PromptError, match=reason):
        Prompt(mask=mask)


@pytest.mark.parametrize(
    "start", [b"RIFF\x10\0\0\0WEBP", b"\0\0\0\x18ftypheic", b"\0\0\0\x18ftypavif", b"P5 8 8 255\n"]
)
def test_an_image_of_another_format_is_not_called_damaged(tmp_path: Path, start: bytes) -> None:
    (tmp_path / "a.img").write_bytes(start + bytes(300))
    with pytest.raises(
        ScanError, match=r"a\.img is not in a supported format; supported are PNG, JPEG"
    ):
        read_scan(tmp_path / "a.img")


@pytest.mark.parametrize("shape", [(1, 8, 9), (1, 1, 8, 9), (8, 9, 1), (1, 8, 9, 1)])
def test_axes_of_length_one_do_not_change_a_mask_prompt(shape: tuple[int, ...]) -> None:
    mask = np.arange(72).reshape(8, 9) % 3 == 0
    given, plain = Prompt(mask=mask.reshape(shape)).mask, Prompt(mask=mask).mask
    assert given is not None
    assert plain is not None
    assert np.array_equal(given, plain)
