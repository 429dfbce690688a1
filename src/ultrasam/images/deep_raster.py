"""Decode, through OpenCV, what Pillow does not keep in full: PNG of 16-bit colors and rarer kinds of TIFF."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ultrasam.errors import ScanError
from ultrasam.extras import needs_opencv
from ultrasam.images.pixels import Frame, GrayScale
from ultrasam.images.quiet import quiet_opencv
from ultrasam.images.tiff import TiffPage

_PNG_COLORS = (2, 4, 6)  # RGB, gray with alpha, RGB with alpha


@dataclass(frozen=True, slots=True)
class RawPixels:
    """Pixels as a file stores them.

    Attributes:
        values: [H, W] gray or [H, W, 3] RGB of any numeric type.
        alpha: [H, W] opacity in 0–1, or None.
        zero_is_white: the gray scale is inverted.
        bits: number of bits of a value, if the file states it.
    """

    values: npt.NDArray[Any]
    alpha: npt.NDArray[np.float64] | None = None
    zero_is_white: bool = False
    bits: int | None = None

    def frame(self, scale: GrayScale) -> Frame:
        """Convert to 8 bits, blended with black."""
        frame = scale(self.values)
        if self.zero_is_white:
            frame = 255 - frame
        if self.alpha is not None:
            alpha = self.alpha if frame.ndim == 2 else self.alpha[..., None]
            frame = np.rint(frame * alpha).astype(np.uint8)
        return frame


def is_deep_png(opened: IO[bytes]) -> bool:
    """Whether a file is a PNG of 16-bit colors, or of 16-bit gray with an alpha channel."""
    opened.seek(0)
    start = opened.read(26)
    return start.startswith(b"\x89PNG") and start[24] == 16 and start[25] in _PNG_COLORS


def decode_deep(
    opened: IO[bytes], index: int, page: TiffPage | None, *, orientation: int = 1
) -> RawPixels:
    """Decode one page of a TIFF, or a PNG, without loss of bits.

    Args:
        page: of the TIFF; None for a PNG.
        orientation: EXIF's, 1 … 8, of a PNG; OpenCV applies that of a TIFF.

    Raises:
        ScanError: The file is damaged or truncated, or compressed in a way that OpenCV does not read.
    """
    opened.seek(0)
    data: npt.NDArray[np.uint8] = (
        np.frombuffer(opened.read(), np.uint8)
        if isinstance(opened, io.BytesIO)
        else np.memmap(opened, np.uint8, "r")
    )
    with needs_opencv("Reading deep colors and rarer kinds of TIFF"):
        import cv2
    with quiet_opencv():
        _, decoded = cv2.imdecodemulti(data, cv2.IMREAD_UNCHANGED, range=(index, index + 1))
    if not decoded:
        raise ScanError("it is damaged or truncated, or its compression is not supported.")
    values = np.asarray(decoded[0])
    if page is not None and values.dtype.itemsize * 8 < page.bits:
        raise ScanError(
            "OpenCV would lose bits of this kind of TIFF; save it as 8-bit gray or RGB."
        )
    alpha = None
    if values.ndim == 3:
        if values.shape[2] == 4:
            alpha = _opacity(values[..., 3]) if page is None or page.has_alpha else None
        values = values[..., 2::-1]  # OpenCV's colors are BGR
        if page is None and all(np.array_equal(values[..., 0], values[..., i]) for i in (1, 2)):
            values = values[..., 0]
    values = _turn(values, orientation)
    alpha = None if alpha is None else _turn(alpha, orientation)
    if page is None:
        return RawPixels(values, alpha)
    return RawPixels(values, alpha, zero_is_white=page.zero_is_white, bits=page.bits)


def _opacity(alpha: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    full = 1.0 if alpha.dtype.kind == "f" else float(np.iinfo(alpha.dtype).max)
    return np.clip(alpha.astype(np.float64) / full, 0, 1)


def _turn(pixels: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Apply EXIF's orientation, as `PIL.ImageOps.exif_transpose` does."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
