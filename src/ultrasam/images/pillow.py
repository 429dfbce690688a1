"""The pixels of Pillow's images, whose arrays may hold palette numbers, ink or other color models."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image


def pixels_of(image: Image.Image) -> npt.NDArray[Any]:
    """Gray [H, W] of the image's own type, or [H, W, 3] uint8.

    Palettes and other color models become RGB, and transparent images are blended with black.
    """
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"), dtype=np.uint8)
    if image.mode.startswith("I") or image.mode == "F":
        return np.asarray(image)
    if image.mode in ("P", "PA", "LA", "La", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    return np.asarray(image.convert("RGB"), dtype=np.uint8)
