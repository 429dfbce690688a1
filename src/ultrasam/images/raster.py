"""PNG, JPEG, BMP, TIFF and GIF through Pillow; pages and animation steps are frames."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from ultrasam.errors import ScanError, one_line
from ultrasam.images.pixels import Frame, to_uint8
from ultrasam.images.scan import Scan, check_size


def read_raster(file: Path) -> Scan:
    """Open a picture.

    Transparency is laid over black, a camera's orientation mark is obeyed, palettes become colors,
    and more than 8 bits are mapped as `to_uint8` says.

    Raises:
        ScanError: damaged, truncated or too large.
    """
    with _opened(file, str(file)) as image:
        frames = _count(image, str(file))
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
    """The first frame of a picture's bytes: [H, W] uint8 if it is gray, also if stored as color, else
    [H, W, 3].

    Raises:
        ScanError: damaged, truncated or too large; ``name`` says what.
    """
    frame = _decoded(io.BytesIO(data), name, 0, _to_frame)
    gray = frame if frame.ndim == 2 else frame[..., 0]
    if frame.ndim == 3 and all(np.array_equal(gray, frame[..., i]) for i in (1, 2)):
        return np.ascontiguousarray(gray)
    return frame


def decode_values(data: bytes, name: str, *, indices: bool = False) -> npt.NDArray[np.generic]:
    """A mask's values as they are stored: [H, W], or [H, W, 3] of a colored one.

    Transparency is dropped, one bit becomes 0 and 255. A palette gives its colors, or with ``indices``
    their numbers.

    Raises:
        ScanError: damaged, truncated or too large; ``name`` says what.
    """
    return _decoded(io.BytesIO(data), name, 0, _to_indices if indices else _to_values)


def _opened(file: Path | io.BytesIO, name: str) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # Sizes are checked by `check_size`, which says more than Pillow's warning.
            warnings.simplefilter("ignore")
            return Image.open(file)
    except Image.DecompressionBombError as error:
        raise ScanError(
            f"{name} claims more pixels than any scan has; it is damaged or not meant to be opened."
        ) from error
    except Exception as error:
        raise ScanError(
            f"{name} is damaged: {_fault(error)}; copy or download it again."
        ) from error


def _count(image: Image.Image, name: str) -> int:
    """Pages or frames; a TIFF's are counted by following pointers, any of which may be damaged."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return int(getattr(image, "n_frames", 1))
    except Exception as error:
        raise ScanError(
            f"{name} is damaged: {_fault(error)}; copy or download it again."
        ) from error


def _read(file: Path, index: int) -> Frame:
    return _decoded(file, str(file), index, _to_frame)


def _decoded(
    file: Path | io.BytesIO,
    name: str,
    index: int,
    convert: Callable[[Image.Image], npt.NDArray[Any]],
) -> npt.NDArray[Any]:
    try:
        with _opened(file, name) as image, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters of a damaged file is raised
            if index:
                image.seek(index)
            check_size(Path(name), image.height, image.width)
            return convert(ImageOps.exif_transpose(image))
    except ScanError:
        raise
    except Exception as error:
        where = f"frame {index} of {name}" if index else name
        raise ScanError(
            f"{where} is damaged: {_fault(error)}; copy or download it again."
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


def _fault(error: Exception) -> str:
    undecoded = "cannot identify" in str(error)
    return "it is not an image that can be decoded" if undecoded else one_line(error)
