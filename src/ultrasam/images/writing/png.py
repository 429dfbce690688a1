"""Write masks and label maps as PNG."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ultrasam.files import atomic_write
from ultrasam.images.masks import BoolMask


def write_mask(path: Path, mask: BoolMask, *, told: Mapping[str, Any] | None = None) -> None:
    """Write a mask [H, W] as an 8-bit PNG, 255 inside and 0 outside.

    Args:
        told: where the mask comes from, for PNG's text chunk ``ultrasam``, as JSON.

    Raises:
        UltraSamError: The file cannot be written.
    """
    pixels = mask.astype(np.uint8) * np.uint8(255)
    if told is None:
        atomic_write(path, encode_png(pixels))
        return
    text, out = PngInfo(), io.BytesIO()
    text.add_text("ultrasam", json.dumps(dict(told)))
    Image.fromarray(pixels).save(out, "PNG", pnginfo=text, compress_level=3)
    atomic_write(path, out.getvalue())


def write_labels(path: Path, labels: npt.NDArray[np.uint8]) -> None:
    """Write a label map [H, W] as an 8-bit PNG, 0 for background.

    Raises:
        UltraSamError: The file cannot be written.
    """
    atomic_write(path, encode_png(labels))


def encode_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Encode pixels [H, W], or [H, W, 3] in BGR order, as a PNG file."""
    return cv2.imencode(".png", np.ascontiguousarray(pixels))[1].tobytes()
