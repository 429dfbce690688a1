"""Resize images as OpenCV does: by OpenCV where it is installed, else by NumPy.

The NumPy forms serve `ultrasam.lite`. They are equal up to rounding: of 8-bit pixels, to one gray level.
Pixel centers lie at + 0.5.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

try:
    import cv2
except ImportError:  # an environment for ultrasam.lite
    cv2 = None  # type: ignore[assignment]

PixelT = TypeVar("PixelT", np.uint8, np.float32)
_UNIT = 2048  # OpenCV's weights of 8-bit pixels are multiples of 1 / 2048


def resize_linear(pixels: npt.NDArray[PixelT], shape: tuple[int, int]) -> npt.NDArray[PixelT]:
    """Resize [H, W] or [H, W, C], uint8 or float32, to ``shape`` (height, width), bilinear and without
    smoothing (INTER_LINEAR)."""
    if cv2 is not None:
        resized = cv2.resize(pixels, shape[::-1], interpolation=cv2.INTER_LINEAR)
        return np.asarray(resized, pixels.dtype)
    taps = [_linear_taps(old, new) for old, new in zip(pixels.shape, shape, strict=False)]
    return _two_taps(pixels, taps)


def resize_area(pixels: npt.NDArray[PixelT], shape: tuple[int, int]) -> npt.NDArray[PixelT]:
    """Resize [H, W] or [H, W, C], uint8 or float32, to ``shape`` (height, width): each pixel is the mean of
    the area that it covers (INTER_AREA).

    Where one side grows, OpenCV interpolates between pixels instead.
    """
    if cv2 is not None:
        resized = cv2.resize(pixels, shape[::-1], interpolation=cv2.INTER_AREA)
        return np.asarray(resized, pixels.dtype)
    if shape[0] > pixels.shape[0] or shape[1] > pixels.shape[1]:
        taps = [_area_taps(old, new) for old, new in zip(pixels.shape, shape, strict=False)]
        return _two_taps(pixels, taps)
    down, across = (_coverage(old, new) for old, new in zip(pixels.shape, shape, strict=False))
    values = np.tensordot(down, pixels.astype(np.float32), axes=1)  # [h, W, …]
    values = np.moveaxis(np.tensordot(values, across, axes=(1, 1)), -1, 1)  # [h, w, …]
    return _rounded(values, pixels.dtype)


def _two_taps(
    pixels: npt.NDArray[PixelT], taps: list[tuple[npt.NDArray[Any], ...]]
) -> npt.NDArray[PixelT]:
    """Interpolate along both axes between pixels ``low`` and ``high`` with the weight ``part`` of the
    latter."""
    eight_bits = pixels.dtype == np.uint8
    values: npt.NDArray[Any] = pixels.astype(np.int64 if eight_bits else np.float32)
    for axis in (1, 0):
        low, high, second = taps[axis]
        part: npt.NDArray[Any] = second.astype(np.float32)
        part = part.reshape(-1, *[1] * (values.ndim - axis - 1))
        rest: npt.NDArray[Any] = np.float32(1) - part
        one, other = values.take(low, axis), values.take(high, axis)
        if not eight_bits:
            values = one * rest + other * part
            continue
        a, b = (np.rint(weight * _UNIT).astype(np.int64) for weight in (rest, part))
        if axis == 1:
            values = one * a + other * b
        else:  # OpenCV drops bits in between, to stay in 16 bits
            values = (((one >> 4) * a >> 16) + ((other >> 4) * b >> 16) + 2) >> 2
    return np.asarray(values, pixels.dtype)


def _linear_taps(old: int, new: int) -> tuple[npt.NDArray[Any], ...]:
    position = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
    low = np.floor(position).astype(np.int64)
    return low, np.minimum(low + 1, old - 1), position - low


def _area_taps(old: int, new: int) -> tuple[npt.NDArray[Any], ...]:
    index = np.arange(new)
    low = np.minimum(np.floor(index * (old / new)).astype(np.int64), old - 1)
    part = (index + 1) - (low + 1) * (new / old)
    part = np.where(part <= 0, 0, part - np.floor(part))
    return low, np.minimum(low + 1, old - 1), part


def _coverage(old: int, new: int) -> npt.NDArray[np.float32]:
    """The fraction [new, old] that each old pixel has in the mean of a new one."""
    edges = np.arange(new + 1) * (old / new)
    start, end = edges[:-1, None], edges[1:, None]
    pixel = np.arange(old)
    covered = np.clip(np.minimum(end, pixel + 1) - np.maximum(start, pixel), 0, None)
    return np.asarray(covered / covered.sum(axis=1, keepdims=True), np.float32)


def _rounded(values: npt.NDArray[Any], kind: np.dtype[PixelT]) -> npt.NDArray[PixelT]:
    return np.asarray(np.rint(values) if kind == np.uint8 else values, kind)
