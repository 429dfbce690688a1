"""Write masks and label maps as PNG."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.files import atomic_write
from ultrasam.images.masks import BoolMask


def write_mask(path: Path, mask: BoolMask) -> None:
    """Write a mask [H, W] as an 8-bit PNG, 255 inside and 0 outside.

    Raises:
        UltraSamError: The file cannot be written.
    """
    atomic_write(path, encode_png(mask.astype(np.uint8) * np.uint8(255)))


def write_labels(path: Path, labels: npt.NDArray[np.uint8]) -> None:
    """Write a label map [H, W] as an 8-bit PNG, 0 for background.

    Raises:
        UltraSamError: The file cannot be written.
    """
    atomic_write(path, encode_png(labels))


def encode_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Encode pixels [H, W], or [H, W, 3] in BGR order, as a PNG file."""
    return cv2.imencode(".png", np.ascontiguousarray(pixels))[1].tobytes()
