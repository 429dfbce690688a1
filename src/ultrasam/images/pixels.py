"""Convert pixels of any type to 8-bit gray or RGB, the only form of a frame."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ultrasam.errors import ScanError, UltraSamWarning
from ultrasam.images.radiofrequency import B_MODE, is_radiofrequency, swings_about_zero

Frame = npt.NDArray[np.uint8]
BLACK = 6
"""Up to this gray value a pixel may be black that JPEG has changed."""


_FEW = 0.001  # up to this fraction of the pixels, on either side, are outliers
_OVERSHOOT = 1.05  # resampling with a cubic or Lanczos filter exceeds the range of its input
_DARK = 16  # floats below, unless they are whole numbers, are hardly gray levels in 0–255
_SAMPLES = 1_000_000
_MIDDLE = 1 << 15  # of 16 bits
_LIKE_RF = "The values look like radiofrequency (RF) data, because they swing about"


@dataclass(frozen=True, slots=True)
class GrayScale:
    """The pixel values shown as black and white; one scale serves all frames of a scan.

    The rule, in which the lowest and highest 0.1 % of the pixels are outliers and do not count:

    - 8-bit pixels are unchanged, and of one-bit pixels, 1 is white.
    - Wider integers: black is 0; white is the largest value of the bits that the file states, if those are
      fewer than 16 and hold the values, else of the smallest of 8, 10, 12, 14 and 16 bits that holds them,
      else the largest value itself.
    - Floats: black is 0; white is 1 if the values are in 0–1, 255 if they are in 0–255, else the largest one.
      Values that exceed 1 or 255 by up to 5 %, as resampling produces, count as in range. Values of at most
      16 that are not whole numbers are not taken for gray levels in 0–255, but for another unit, as the
      logarithm of an envelope; white is the largest one.
    - With negative values of more than 5 % of the largest, black is the smallest and white the largest.

    Attributes:
        black, white: the values shown as 0 and 255; values beyond them are clipped.
    """

    black: float
    white: float

    @classmethod
    def of(cls, *frames: npt.NDArray[Any], bits: int | None = None) -> GrayScale:
        """The scale of frames of any shape and one type.

        Args:
            frames: the pixels of all frames that are shown in the same scale.
            bits: number of bits that hold a pixel, if the file states it.

        Raises:
            ScanError: There is no pixel, pixels are not real numbers or not finite, or they are
                radiofrequency data instead of an image.
        """
        for frame in frames:
            _require_numbers(frame)
        if not sum(frame.size for frame in frames):
            raise ScanError("The image has no pixels.")
        kind = frames[0].dtype
        if kind == np.bool_:
            return cls(0.0, 1.0)
        if kind == np.uint8 and (bits is None or bits >= 8):
            return cls(0.0, 255.0)
        each = max(1, _SAMPLES // len(frames))
        values = np.concatenate([_sample(frame, each) for frame in frames])
        low, high = (float(v) for v in np.quantile(values, (_FEW, 1 - _FEW), method="inverted_cdf"))
        if low < 0 and -low > (_OVERSHOOT - 1) * high:
            if any(is_radiofrequency(frame) for frame in frames):
                raise ScanError(f"{_LIKE_RF} zero along a line; {B_MODE}.")
            if any(swings_about_zero(frame) for frame in frames):
                warnings.warn(
                    "The values swing about zero, as those of a derivative or of radiofrequency (RF) data; "
                    f"if they are RF data, {B_MODE}.",
                    UltraSamWarning,
                    stacklevel=2,
                )
            return cls(low, high) if high > low else cls(low, low + 1)
        # Of signed values that were moved to be positive, zero is the middle.
        is_moved = kind == np.uint16 and abs(np.median(values) - _MIDDLE) < _FEW * _MIDDLE
        if is_moved and any(is_radiofrequency(f.astype(np.int32) - _MIDDLE) for f in frames):
            raise ScanError(f"{_LIKE_RF} the middle of 16 bits along a line; {B_MODE}.")
        if np.issubdtype(kind, np.floating):
            are_levels = high > _DARK or np.array_equal(values, np.rint(values))
            ranges = (1.0, 255.0) if are_levels else (1.0,)
            tops = [top for top in ranges if high <= top * _OVERSHOOT]
        else:
            widths = (bits,) if bits is not None and bits < 16 else ()
            tops = [2.0**width - 1 for width in (*widths, 8, 10, 12, 14, 16) if high < 2.0**width]
        return cls(0.0, tops[0] if tops else high)

    def __call__(self, pixels: npt.NDArray[Any]) -> Frame:
        """Convert pixels of any shape to 0–255.

        Raises:
            ScanError: Pixels are not real numbers, or not finite.
        """
        if pixels.dtype == np.uint8 and (self.black, self.white) == (0, 255):
            return pixels.astype(np.uint8, copy=False)
        _require_numbers(pixels)
        values = (pixels.astype(np.float64) - self.black) * (255 / (self.white - self.black))
        return np.clip(values + 0.5, 0, 255).astype(np.uint8)


def _require_numbers(pixels: npt.NDArray[Any]) -> None:
    kind = pixels.dtype
    if np.iscomplexobj(pixels):
        raise ScanError(f"The values are complex numbers, as in IQ data; {B_MODE}.")
    if kind != np.bool_ and not np.issubdtype(kind, np.number):
        raise ScanError(f"Pixels of type {kind} are not supported; give integers or floats.")
    if np.issubdtype(kind, np.floating) and not np.isfinite(pixels).all():
        raise ScanError("Some pixels are not finite numbers; replace NaN and infinity.")


def _sample(pixels: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """Every n-th pixel, so that at most about ``count`` remain."""
    flat = pixels.reshape(-1)
    return flat[:: max(1, len(flat) // count)]


def to_uint8(array: npt.NDArray[np.generic]) -> Frame:
    """Convert one image of any numeric type to 0–255, by its own `GrayScale`.

    Raises:
        ScanError: Pixels are not real numbers, or not finite.
    """
    return GrayScale.of(array)(array)


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
