"""Decode mask files of unknown making: gray values, class numbers, palettes, colors, or transparency.

Every pixel becomes a *code*: 0 is black, or transparent; a gray value or class number is itself; a color is
``COLOR`` plus 0xRRGGBB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ultrasam.errors import ScanError
from ultrasam.images.raster import decode_image, require_one_page

COLOR = 1 << 24
_FEW_ALPHAS = 4
Codes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class MaskFile:
    """A decoded mask file.

    Attributes:
        codes: [H, W] int64, see above.
        lossy: whether the file is a JPEG, so that its values are inexact.
    """

    codes: Codes
    lossy: bool = False


def decode_mask(data: bytes, name: str) -> MaskFile:
    """Decode a mask file.

    Args:
        data: the file's content.
        name: of the mask, for error messages.

    Raises:
        ScanError: The file is damaged, has several pages, or negative or fractional values.
    """
    codes = decode_image(data, name, _codes)
    require_one_page(data, name)
    if codes is None:
        raise ScanError(
            f"{name} has values that are no class numbers (negative, fractional or not finite); save the "
            "mask with whole numbers from 0 to 65535."
        )
    return MaskFile(codes, data[:3] == b"\xff\xd8\xff")


def code_name(code: int) -> str:
    """How people write a code: ``2``, or ``#ff0000`` for a color."""
    return f"#{code - COLOR:06x}" if code >= COLOR else str(code)


def distance(codes: Codes, code: int) -> npt.NDArray[np.float32]:
    """[…] float32: how far each code is from ``code``, in the channel in which they differ most."""
    most = np.zeros(codes.shape, np.float32)
    for one, other in zip(_channels(codes), _channels(np.array(code)), strict=True):
        np.maximum(most, np.abs(one - other), out=most)
    return most


def _channels(codes: Codes) -> tuple[npt.NDArray[np.float32], ...]:
    is_color, rgb = codes >= COLOR, codes - COLOR
    shifted = (rgb >> 16 & 255, rgb >> 8 & 255, rgb & 255)
    return tuple(np.where(is_color, channel, codes).astype(np.float32) for channel in shifted)


def brightness(codes: Codes) -> npt.NDArray[np.float32]:
    """[…] float32: gray values as they are, of colors the mean of the channels."""
    if not (codes >= COLOR).any():
        return codes.astype(np.float32)
    rgb = codes - COLOR
    mean = ((rgb >> 16) + (rgb >> 8 & 255) + (rgb & 255)).astype(np.float32) / 3
    return np.where(codes >= COLOR, mean, codes).astype(np.float32)


def _codes(image: Image.Image) -> Codes | None:
    """The code of each pixel, [H, W]; None if values are no class numbers."""
    if image.mode == "P" and "transparency" not in image.info:
        return _of_palette(image)
    if image.mode in ("P", "PA", "LA", "La", "RGBA", "RGBa") or "transparency" in image.info:
        return _of_transparent(np.asarray(image.convert("RGBA")))
    if image.mode in ("CMYK", "YCbCr", "HSV", "LAB"):
        image = image.convert("RGB")
    values: npt.NDArray[Any] = np.asarray(image.convert("L") if image.mode == "1" else image)
    return _of_rgb(values) if values.ndim == 3 else _of_numbers(values)


def _of_numbers(values: npt.NDArray[Any]) -> Codes | None:
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            return None
        if float(values.max(initial=0)) <= 1 and (values % 1).any():
            values = np.rint(values * 255)  # probabilities
        if (values % 1).any():
            return None
    if values.size and (int(values.min()) < 0 or int(values.max()) >= COLOR):
        return None
    return values.astype(np.int64)


def _of_rgb(rgb: npt.NDArray[Any]) -> Codes:
    red, green, blue = (rgb[..., c].astype(np.int64) for c in range(3))
    is_gray = (red == green) & (green == blue)
    return np.asarray(np.where(is_gray, red, COLOR + (red << 16) + (green << 8) + blue))


def _of_palette(image: Image.Image) -> Codes:
    """Gray values of a gray palette; colors, if black is one of them without being number 0; else numbers."""
    indices = np.asarray(image).astype(np.int64)
    used = np.unique(indices)
    palette = np.zeros((256, 3), np.uint8)
    stored = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)[:256]
    palette[: len(stored)] = stored
    colors = _of_rgb(palette)
    distinct = len(np.unique(colors[used])) == len(used)
    gray = bool((colors[used] < COLOR).all())
    black_elsewhere = bool((colors[used[used > 0]] == 0).any())
    return colors[indices] if distinct and (gray or black_elsewhere) else indices


def _of_transparent(rgba: npt.NDArray[np.uint8]) -> Codes:
    """Transparent pixels are background; where all that is visible is black, transparency is the mask."""
    alpha = rgba[..., 3]
    if int(alpha.min(initial=255)) == int(alpha.max(initial=0)):
        return _of_rgb(rgba[..., :3])
    visible = np.where(alpha[..., None] > 0, rgba[..., :3], 0)
    if not visible.any():
        return alpha.astype(np.int64)
    if (rgba[..., :3] == 255).all():
        return alpha.astype(np.int64)
    # Few values are the transparency of an overlay, many are soft edges.
    overlay = len(np.unique(alpha)) <= _FEW_ALPHAS
    shown = alpha > 0 if overlay else 2 * alpha.astype(np.int64) >= int(alpha.max())
    return _of_rgb(np.where(shown[..., None], rgba[..., :3], 0))
