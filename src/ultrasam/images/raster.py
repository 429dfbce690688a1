"""Read PNG, JPEG, BMP, TIFF and GIF through Pillow; pages and animation frames are the scan's frames."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from ultrasam.errors import ScanError, one_line
from ultrasam.images.pixels import Frame, to_uint8
from ultrasam.images.scan import Scan, check_size

T = TypeVar("T")


def read_raster(file: Path) -> Scan:
    """Open an image file.

    Transparent images are blended with black, EXIF orientation is applied, palettes become RGB, and more than
    8 bits are converted by `to_uint8`.

    Raises:
        ScanError: The file is damaged, truncated or too large.
    """
    with _open(file, str(file)) as image:
        frames = _count_frames(image, str(file))
        check_size(file, image.height, image.width, frames)
        delay = image.info.get("duration")
    first = _read(file, 0)

    def read(index: int) -> Frame:
        return first if index == 0 else _read(file, index)

    return Scan(
        frames,
        first.shape[0],
        first.shape[1],
        first.ndim == 3,
        read,
        source=file,
        frame_time=float(delay) if frames > 1 and delay else None,
    )


def decode_frame(data: bytes, name: str) -> Frame:
    """Decode the first frame of an encoded image: [H, W] uint8 if all channels are equal, else [H, W, 3].

    Args:
        name: of the image, for error messages.

    Raises:
        ScanError: The data is damaged, truncated or too large.
    """
    frame = _decode(io.BytesIO(data), name, 0, _to_frame)
    first = frame if frame.ndim == 2 else frame[..., 0]
    if frame.ndim == 3 and all(np.array_equal(first, frame[..., i]) for i in (1, 2)):
        return np.ascontiguousarray(first)
    return frame


def decode_values(data: bytes, name: str, *, indices: bool = False) -> npt.NDArray[np.generic]:
    """Decode a mask's stored values: [H, W], or [H, W, 3] for a color mask.

    Transparency is dropped; one-bit masks become 0 and 255.

    Args:
        name: of the image, for error messages.
        indices: return a palette image's indices instead of its colors.

    Raises:
        ScanError: The data is damaged, truncated or too large.
    """
    return _decode(io.BytesIO(data), name, 0, _to_indices if indices else _to_values)


def decode_image(data: bytes, name: str, convert: Callable[[Image.Image], T]) -> T:
    """Decode the first frame of an encoded image, turned as its EXIF orientation says, by ``convert``.

    Args:
        data: the file's content.
        name: of the image, for error messages.
        convert: what to make of the decoded image.

    Raises:
        ScanError: The data is damaged, truncated or too large.
    """
    return _decode(io.BytesIO(data), name, 0, convert)


def read_orientation(file: Path) -> tuple[int, tuple[int, int]]:
    """The EXIF orientation of an image file, 1 to 8, and its stored (width, height); 1 if it has none."""
    try:
        with _open(file, str(file)) as image:
            orientation = int(image.getexif().get(0x0112, 1))
            return orientation if 1 <= orientation <= 8 else 1, image.size
    except Exception:  # reading the image tells what is wrong with it
        return 1, (0, 0)


def _open(file: Path | io.BytesIO, name: str) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # `check_size` replaces Pillow's warning about large images.
            warnings.simplefilter("ignore")
            return Image.open(file)
    except Image.DecompressionBombError as error:
        raise ScanError(
            f"{name} declares more pixels than any scan has; it is damaged or malicious."
        ) from error
    except Exception as error:
        raise ScanError(
            f"{name} is damaged: {_reason(error)}; copy or download it again."
        ) from error


def _count_frames(image: Image.Image, name: str) -> int:
    """The number of pages or frames; TIFF pages form a linked list, which may be damaged."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return int(getattr(image, "n_frames", 1))
    except Exception as error:
        raise ScanError(
            f"{name} is damaged: {_reason(error)}; copy or download it again."
        ) from error


def _read(file: Path, index: int) -> Frame:
    return _decode(file, str(file), index, _to_frame)


def _decode(
    file: Path | io.BytesIO,
    name: str,
    index: int,
    convert: Callable[[Image.Image], T],
) -> T:
    try:
        with _open(file, name) as image, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # real damage raises an error
            if index:
                image.seek(index)
            check_size(Path(name), image.height, image.width)
            return convert(ImageOps.exif_transpose(image))
    except ScanError:
        raise
    except Exception as error:
        where = f"frame {index} of {name}" if index else name
        raise ScanError(
            f"{where} is damaged: {_reason(error)}; copy or download it again."
        ) from error


def _to_indices(image: Image.Image) -> npt.NDArray[Any]:
    return np.asarray(image) if image.mode == "P" else _to_values(image)


def _to_values(image: Image.Image) -> npt.NDArray[Any]:
    if image.mode in ("P", "PA"):
        return np.asarray(image.convert("RGB"))
    if image.mode == "1":
        return np.asarray(image.convert("L"))
    values = np.asarray(image)
    if values.ndim == 3 and values.shape[2] in (2, 4) and image.mode != "CMYK":
        values = values[..., : values.shape[2] - 1]
    if image.mode in ("CMYK", "YCbCr", "HSV", "LAB"):
        values = np.asarray(image.convert("RGB"))
    return values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values


def _to_frame(image: Image.Image) -> Frame:
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"), dtype=np.uint8)
    if image.mode.startswith("I") or image.mode == "F":
        return to_uint8(np.asarray(image))
    if image.mode in ("P", "PA", "LA", "La", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    return np.asarray(image.convert("RGB"), dtype=np.uint8)


def _reason(error: Exception) -> str:
    unidentified = "cannot identify" in str(error)
    return "it is not an image that can be decoded" if unidentified else one_line(error)
