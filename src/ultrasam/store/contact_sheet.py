"""Contact sheets: images of a store with their masks drawn, to see at a glance whether they fit."""

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
    """Draw images in a grid, each mask as an outline over a light tint, and save it as PNG.

    Args:
        rows: of the table of images.
        tile: side of one picture in pixels; the image is fitted into it.
    """
    columns = max(1, min(columns, len(rows)))
    height = math.ceil(len(rows) / columns)
    sheet = Image.new("RGB", (columns * tile, height * (tile + _CAPTION)), (16, 16, 16))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for index, row in enumerate(rows):
        x, y = index % columns * tile, index // columns * (tile + _CAPTION)
        picture, names = drawn(store, row, tile - 4)
        left = x + (tile - picture.shape[1]) // 2
        sheet.paste(Image.fromarray(picture), (left, y + (tile - picture.shape[0]) // 2))
        dataset, name, side = (
            str(store.images[c][row].as_py()) for c in ("dataset", "name", "split")
        )
        draw.text(
            (x + 4, y + tile), _cut(f"{dataset} · {name}", tile), fill=(230, 230, 230), font=font
        )
        at = x + 4
        draw.text((at, y + tile + 14), side, fill=(150, 150, 150), font=font)
        at += int(draw.textlength(side, font=font)) + 8
        for structure in names:
            if at > x + tile - 20:
                break
            draw.text((at, y + tile + 14), structure, fill=color_of(structure), font=font)
            at += int(draw.textlength(structure, font=font)) + 8
    with atomic_file(path) as file:
        sheet.save(file, format="png")


def drawn(store: Store, row: int, side: int) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """One image [h, w, 3] fitted into ``side`` with its masks, and the structures' names."""
    pixels = store.pixels(row, colour=True)
    rgb = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels
    scale = side / max(rgb.shape[:2])
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    picture = np.ascontiguousarray(cv2.resize(rgb, size, interpolation=way))
    names: list[str] = []
    for instance in store.instances_of(row):
        name = str(store.instances["structure"][instance].as_py())
        if name not in names:
            names.append(name)
        mask = cv2.resize(
            store.mask(instance).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT
        )
        colour = color_of(name)
        inside = mask > 0
        picture[inside] = (0.8 * picture[inside] + 0.2 * np.array(colour)).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, contours, -1, colour, 1, cv2.LINE_AA)
    return np.asarray(picture, np.uint8), names


def color_of(structure: str) -> tuple[int, int, int]:
    """A bright colour that always stands for the same structure."""
    hue = hashlib.blake2b(structure.encode(), digest_size=2).digest()
    r, g, b = colorsys.hsv_to_rgb(int.from_bytes(hue, "big") / 65536, 0.75, 1.0)
    return round(r * 255), round(g * 255), round(b * 255)


def _cut(text: str, width: int) -> str:
    most = width // 6
    return text if len(text) <= most else text[: most - 1] + "…"
