"""Contact sheets: a grid of images with their masks, to check annotations at a glance."""

from __future__ import annotations

import colorsys
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ultrasam.files import atomic_file
from ultrasam.store.store import Store

_CAPTION = 34


def contact_sheet(
    store: Store, rows: Sequence[int], path: Path, *, columns: int = 6, tile: int = 240
) -> None:
    """Draw a grid of images with outlined and tinted masks, and save it as PNG.

    Args:
        store: the store.
        rows: rows of the image table.
        path: file to write.
        columns: maximum number of columns.
        tile: width and height of a tile in pixels; images are scaled to fit.
    """
    columns = max(1, min(columns, len(rows)))
    height = math.ceil(len(rows) / columns)
    sheet = Image.new("RGB", (columns * tile, height * (tile + _CAPTION)), (16, 16, 16))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for index, row in enumerate(rows):
        x, y = index % columns * tile, index // columns * (tile + _CAPTION)
        overlay, names = draw_image(store, row, tile - 4)
        left = x + (tile - overlay.shape[1]) // 2
        sheet.paste(Image.fromarray(overlay), (left, y + (tile - overlay.shape[0]) // 2))
        dataset, name, split = (
            str(store.images[c][row].as_py()) for c in ("dataset", "name", "split")
        )
        title = _shortened(f"{dataset} · {name}", tile)
        draw.text((x + 4, y + tile), title, fill=(230, 230, 230), font=font)
        text_x = x + 4
        draw.text((text_x, y + tile + 14), split, fill=(150, 150, 150), font=font)
        text_x += int(draw.textlength(split, font=font)) + 8
        for structure in names:
            if text_x > x + tile - 20:
                break
            draw.text((text_x, y + tile + 14), structure, fill=color_of(structure), font=font)
            text_x += int(draw.textlength(structure, font=font)) + 8
    with atomic_file(path) as file:
        sheet.save(file, format="png")


def draw_image(store: Store, row: int, size: int) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """Draw one image with its masks.

    Returns:
        [h, w, 3] RGB uint8 whose longer side is ``size`` pixels, and the names of the structures.
    """
    pixels = store.pixels(row, color=True)
    rgb = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels
    scale = size / max(rgb.shape[:2])
    shape = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    overlay = np.ascontiguousarray(cv2.resize(rgb, shape, interpolation=interpolation))
    names: list[str] = []
    for instance in store.instances_of(row):
        name = str(store.instances["structure"][instance].as_py())
        if name not in names:
            names.append(name)
        mask = cv2.resize(
            store.mask(instance).astype(np.uint8), shape, interpolation=cv2.INTER_NEAREST_EXACT
        )
        color = color_of(name)
        inside = mask > 0
        overlay[inside] = (0.8 * overlay[inside] + 0.2 * np.array(color)).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(overlay, contours, -1, color, 1, cv2.LINE_AA)
    return np.asarray(overlay, np.uint8), names


def color_of(structure: str) -> tuple[int, int, int]:
    """A bright RGB color, always the same for a structure."""
    hue = hashlib.blake2b(structure.encode(), digest_size=2).digest()
    r, g, b = colorsys.hsv_to_rgb(int.from_bytes(hue, "big") / 65536, 0.75, 1.0)
    return round(r * 255), round(g * 255), round(b * 255)


def _shortened(text: str, width: int) -> str:
    max_length = width // 6
    return text if len(text) <= max_length else text[: max_length - 1] + "…"
