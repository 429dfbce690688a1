"""What a layout must be read as, and the small shapes that all layouts are drawn with."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.generic]
H, W = 64, 80


@dataclass
class Truth:
    """One image: where it is from (the end of its path), its masks and what is known of it."""

    source: str
    masks: list[tuple[str, Array]]
    subject: str | None = None
    split: str | None = None
    class_label: str | None = None
    frame: int | None = None
    spacing: tuple[float, float] | None = None
    pixels: Array | None = None
    shape: tuple[int, int] = (H, W)
    measurements: dict[str, float] = field(default_factory=dict)


def picture(seed: int, height: int = H, width: int = W) -> npt.NDArray[np.uint8]:
    """Noise without a black pixel."""
    return np.random.default_rng(seed).integers(40, 220, (height, width)).astype(np.uint8)


def rectangle(
    x0: int, y0: int, x1: int, y1: int, height: int = H, width: int = W
) -> npt.NDArray[np.bool_]:
    mask = np.zeros((height, width), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def disc(cx: int, cy: int, r: int, height: int = H, width: int = W) -> npt.NDArray[np.bool_]:
    y, x = np.mgrid[0:height, 0:width]
    return (x - cx) ** 2 + (y - cy) ** 2 < r * r


def save(path: Path, array: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(path.suffix, array))


def encoded(suffix: str, array: Array) -> bytes:
    out = io.BytesIO()
    kind = {
        ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP", ".png": "PNG"
    }  # fmt: skip
    extra = {"quality": 95} if kind[suffix.lower()] == "JPEG" else {}
    Image.fromarray(np.asarray(array)).save(out, kind[suffix.lower()], **extra)
    return out.getvalue()


def gray(mask: Array, value: int = 255) -> npt.NDArray[np.uint8]:
    return (np.asarray(mask) * value).astype(np.uint8)


def zipped(path: Path, files: dict[str, bytes], *, stored: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(zip_bytes(files, stored=stored))


def zip_bytes(files: dict[str, bytes], *, stored: bool = False) -> bytes:
    out = io.BytesIO()
    kind = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(out, "w", kind) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


@dataclass
class Files:
    """Files in memory, for archives."""

    files: dict[str, bytes] = field(default_factory=dict)

    def image(self, path: str, array: Array) -> None:
        self.files[path] = encoded("." + path.rsplit(".", 1)[1], array)
