"""Draw masks, boxes and clicks over a frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.files import atomic_write
from ultrasam.images.masks import BoolMask
from ultrasam.images.pixels import Frame
from ultrasam.images.writing.png import encode_png

# Okabe and Ito's colorblind-safe palette, as RGB.
_COLORS = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66),
    (0, 114, 178), (213, 94, 0), (204, 121, 167),
)  # fmt: skip


def write_overlay(
    path: Path,
    frame: Frame,
    masks: Sequence[BoolMask],
    *,
    boxes: Sequence[npt.ArrayLike] = (),
    points: Sequence[tuple[float, float, int]] = (),
    colors: Sequence[int] | None = None,
    texts: Sequence[tuple[str, float, float]] = (),
) -> None:
    """Write a frame with masks as tinted areas with outlines, boxes as rectangles and clicks as dots, as PNG.

    Args:
        boxes: x0, y0, x1, y1 in the frame's pixels; they may reach beyond it.
        points: (x, y, label); foreground clicks are filled dots, background clicks are rings.
        colors: a number per mask; masks with equal numbers share a color. By default, all colors differ.
        texts: ASCII text and the point (x, y) above which it stands, if there is room.

    Raises:
        UltraSamError: The file cannot be written.
    """
    atomic_write(
        path,
        encode_png(
            draw_overlay(frame, masks, boxes=boxes, points=points, colors=colors, texts=texts)[
                ..., ::-1
            ]
        ),
    )


def write_side_by_side(path: Path, pictures: Sequence[Frame]) -> None:
    """Write pictures [H, W, 3] uint8 RGB of one size as one PNG, from left to right with a black gap.

    Raises:
        UltraSamError: The file cannot be written.
    """
    height, width = pictures[0].shape[:2]
    gap = np.zeros((height, max(2, width // 100), 3), np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)][1:]
    atomic_write(path, encode_png(np.concatenate(parts, axis=1)[..., ::-1]))


def draw_overlay(
    frame: Frame,
    masks: Sequence[BoolMask],
    *,
    boxes: Sequence[npt.ArrayLike] = (),
    points: Sequence[tuple[float, float, int]] = (),
    colors: Sequence[int] | None = None,
    texts: Sequence[tuple[str, float, float]] = (),
) -> Frame:
    """Draw the overlay of `write_overlay`, as [H, W, 3] uint8 RGB."""
    rgb = np.repeat(frame[..., None], 3, axis=-1) if frame.ndim == 2 else frame.copy()
    height, width = rgb.shape[:2]
    stroke = max(1, round(max(height, width) / 400))
    numbers = range(len(masks)) if colors is None else colors
    for index, mask in zip(numbers, masks, strict=True):
        color = np.array(_COLORS[index % len(_COLORS)], dtype=np.float32)
        rgb[mask] = (0.72 * rgb[mask] + 0.28 * color).astype(np.uint8)
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(rgb, contours, -1, color.tolist(), stroke, cv2.LINE_AA)
    for box in boxes:
        # What is farther outside is not seen, and OpenCV takes no large numbers.
        seen = np.clip(np.asarray(box, np.float64), -9, [width + 9, height + 9] * 2)
        x0, y0, x1, y1 = (round(float(v)) for v in seen)
        cv2.rectangle(rgb, (x0, y0), (x1 - 1, y1 - 1), (255, 255, 255), stroke)
    for x, y, label in points:
        center = (int(x), int(y))
        cv2.circle(rgb, center, 3 * stroke, (0, 0, 0), stroke + 1, cv2.LINE_AA)
        filled = cv2.FILLED if label else stroke
        cv2.circle(rgb, center, 3 * stroke, (255, 255, 255), filled, cv2.LINE_AA)
    for text, x, y in texts:
        _write_text(rgb, text, x, y, stroke)
    return rgb


def _write_text(rgb: Frame, text: str, x: float, y: float, stroke: int) -> None:
    """Write text above and right of a point, moved into the frame; in white, with a black outline."""
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.4 * stroke
    (across, up), down = cv2.getTextSize(text, font, scale, stroke)
    left = int(np.clip(x, 0, max(0, rgb.shape[1] - across)))
    bottom = int(np.clip(y - 2 * stroke, up + 1, max(up + 1, rgb.shape[0] - down)))
    around = [(dx, dy) for dx in (-stroke, 0, stroke) for dy in (-stroke, 0, stroke)]
    for dx, dy in (
        *around,
        (0, 0),
    ):  # a thicker line would have other widths in some versions of OpenCV
        color = (0, 0, 0) if dx or dy else (255, 255, 255)
        cv2.putText(rgb, text, (left + dx, bottom + dy), font, scale, color, stroke, cv2.LINE_AA)
