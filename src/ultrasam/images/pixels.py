"""Convert pixels of any type to 8-bit gray or RGB, the only form of a frame."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ultrasam.errors import ScanError

Frame = npt.NDArray[np.uint8]


def to_uint8(array: npt.NDArray[np.generic]) -> Frame:
    """Convert pixels of any numeric type to 0–255.

    8-bit pixels are unchanged. Wider integers are scaled from the smallest of 8, 10, 12, 14 and 16 bits that
    holds their maximum, or from the maximum itself. With negative values, minimum to maximum maps to 0–255.
    Floats within 0–1 are scaled to 0–255; floats within 0–255 are rounded.

    Raises:
        ScanError: Pixels are not real numbers, or not finite.
    """
    if array.dtype == np.uint8:
        return array.astype(np.uint8, copy=False)
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    if not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
        raise ScanError(f"Pixels of type {array.dtype} are not supported; give integers or floats.")
    values = array.astype(np.float64)
    if not np.isfinite(values).all():
        raise ScanError("Some pixels are not finite numbers; replace NaN and infinity.")
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
    """Convert [H, W, 3] RGB to [H, W] luminance (ITU-R BT.601); [H, W] is returned unchanged."""
    if pixels.ndim == 2:
        return pixels
    first = pixels[..., 0]
    if np.array_equal(first, pixels[..., 1]) and np.array_equal(first, pixels[..., 2]):
        return np.ascontiguousarray(first)
    return np.asarray(np.rint(pixels @ np.array([0.299, 0.587, 0.114])), dtype=np.uint8)


_COLOR_TRACES = 12  # largest channel difference that lossy coding adds to a gray image


def gray_if_colorless(pixels: Frame) -> Frame:
    """Convert a frame to [H, W] if its only color is compression noise; otherwise return it unchanged."""
    if pixels.ndim == 2:
        return pixels
    spread = pixels.max(axis=2) - pixels.min(axis=2)
    return gray(pixels) if int(spread.max()) <= _COLOR_TRACES else pixels
