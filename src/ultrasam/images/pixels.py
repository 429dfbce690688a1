"""Pixels of any type as 8-bit gray or RGB, the one form in which a frame is handed on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ultrasam.errors import ScanError

Frame = npt.NDArray[np.uint8]


def to_uint8(array: npt.NDArray[np.generic]) -> Frame:
    """Pixels of any numeric type to 0-255.

    8 bits are kept. Wider integers are taken to have the least of 8, 10, 12, 14 and 16 bits (or their
    own maximum, past that) that holds them, so that frames of one scan stay comparable; negative ones
    are mapped from their least to their greatest. Floats within
    0-1 are stretched to 0-255, floats within 0-255 rounded.

    Raises:
        ScanError: complex or other non-numeric pixels, or values that are not finite.
    """
    if array.dtype == np.uint8:
        return array.astype(np.uint8, copy=False)
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    if not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
        raise ScanError(f"Pixels of type {array.dtype} are not an image.")
    values = array.astype(np.float64)
    if not np.isfinite(values).all():
        raise ScanError("Some pixels are not finite numbers.")
    low, high = float(values.min()), float(values.max())
    if low < 0:
        top = high - low or 1.0
        values -= low
    elif np.issubdtype(array.dtype, np.floating):
        top = 1.0 if high <= 1 else max(255.0, high)
    else:
        top = next((2.0**bits - 1 for bits in (8, 10, 12, 14, 16) if high < 2**bits), high)
    return np.clip(values * (255.0 / top) + 0.5, 0, 255).astype(np.uint8)


Gray = npt.NDArray[np.uint8]


def gray(pixels: Frame) -> Gray:
    """[H, W] or [H, W, 3] RGB to [H, W] by luminance (ITU-R BT.601)."""
    if pixels.ndim == 2:
        return pixels
    first = pixels[..., 0]
    if np.array_equal(first, pixels[..., 1]) and np.array_equal(first, pixels[..., 2]):
        return np.ascontiguousarray(first)
    return np.asarray(np.rint(pixels @ np.array([0.299, 0.587, 0.114])), dtype=np.uint8)


_COLOR_TRACES = 12


def gray_if_colorless(pixels: Frame) -> Frame:
    """A clip's frame as [H, W] where it has no color but a lossy coder's traces of it, else as given."""
    if pixels.ndim == 2:
        return pixels
    spread = pixels.max(axis=2) - pixels.min(axis=2)
    return gray(pixels) if int(spread.max()) <= _COLOR_TRACES else pixels
