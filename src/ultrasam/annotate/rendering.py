"""Frames and thumbnails as the page shows them: PNG without loss, JPEG for playback."""

from __future__ import annotations

import numpy as np

from ultrasam.errors import ScanError
from ultrasam.images.pixels import Frame

THUMBNAIL = 160  # pixels, the longer side


def png(frame: Frame) -> bytes:
    """A frame [H, W] or [H, W, 3] as PNG, gray or RGB, without loss."""
    import cv2

    return _encoded(".png", frame, [cv2.IMWRITE_PNG_COMPRESSION, 1])


def jpeg(frame: Frame, quality: int) -> bytes:
    """A frame [H, W] or [H, W, 3] as JPEG, which is written forty times faster than WebP.

    Args:
        quality: 1 to 100; some is lost at all of them.
    """
    import cv2

    return _encoded(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])


def thumbnail(frame: Frame) -> bytes:
    """A frame as a small JPEG."""
    import cv2

    height, width = frame.shape[:2]
    scale = min(1.0, THUMBNAIL / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return jpeg(np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8), 80)


def _encoded(suffix: str, frame: Frame, settings: list[int]) -> bytes:
    import cv2

    pixels = frame if frame.ndim == 2 else np.ascontiguousarray(frame[..., ::-1])
    done, content = cv2.imencode(suffix, pixels, settings)
    if not done:
        height, width = frame.shape[:2]
        raise ScanError(f"A frame of {width} × {height} pixels cannot be written as {suffix[1:]}.")
    return content.tobytes()
