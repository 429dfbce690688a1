"""A contact sheet of a cine: some of its frames in a grid, each with a caption."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ultrasam.files import atomic_file
from ultrasam.images.pixels import Frame

_CAPTION = 20
_GAP = 4
_SURFACE, _TEXT = (17, 20, 23), (230, 233, 236)


def write_frame_sheet(
    path: Path, pictures: Sequence[tuple[Frame, str]], *, columns: int = 5, tile: int = 260
) -> None:
    """Write pictures [H, W, 3] uint8 RGB with captions as a grid, as PNG.

    Args:
        path: the file.
        pictures: in the order of reading; at least one.
        columns: maximum number of columns.
        tile: longer side of a picture in pixels; smaller ones are enlarged.

    Raises:
        UltraSamError: The file cannot be written.
    """
    scaled = [_scaled(picture, tile) for picture, _ in pictures]
    columns = min(columns, len(scaled))
    width = max(one.shape[1] for one in scaled) + _GAP
    height = max(one.shape[0] for one in scaled) + _GAP + _CAPTION
    rows = math.ceil(len(scaled) / columns)
    sheet = Image.new("RGB", (columns * width + _GAP, rows * height + _GAP), _SURFACE)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for index, (picture, (_, caption)) in enumerate(zip(scaled, pictures, strict=True)):
        x, y = _GAP + index % columns * width, _GAP + index // columns * height
        sheet.paste(Image.fromarray(picture), (x, y))
        draw.text((x + 2, y + picture.shape[0] + 2), caption, fill=_TEXT, font=font)
    with atomic_file(path) as file:
        sheet.save(file, format="png")


def _scaled(picture: Frame, tile: int) -> Frame:
    scale = tile / max(picture.shape[:2])
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=interpolation), np.uint8)
