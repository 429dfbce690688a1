"""PNG, JPEG, BMP, TIFF and GIF through Pillow; pages and animation steps are frames."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ultrasam.errors import ScanError
from ultrasam.images.scan import Frame, Scan, check_size, to_uint8


def read_raster(file: Path) -> Scan:
    """Open a picture.

    Transparency is laid over black, a camera's orientation mark is obeyed, palettes become colours,
    and more than 8 bits are mapped as `to_uint8` says.

    Raises:
        ScanError: damaged, truncated or too large.
    """
    with _opened(file) as image:
        frames = int(getattr(image, "n_frames", 1))
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


def _opened(file: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # Sizes are checked by `check_size`, which says more than Pillow's warning.
            warnings.simplefilter("ignore")
            return Image.open(file)
    except Image.DecompressionBombError as error:
        raise ScanError(
            f"{file} claims more pixels than any scan has; it is damaged or not meant to be opened."
        ) from error
    except Exception as error:
        raise ScanError(
            f"{file} is damaged: {_reason(error)}; copy or download it again."
        ) from error


def _read(file: Path, index: int) -> Frame:
    try:
        with _opened(file) as image, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters of a damaged file is raised
            if index:
                image.seek(index)
            check_size(file, image.height, image.width)
            return _to_frame(ImageOps.exif_transpose(image))
    except ScanError:
        raise
    except Exception as error:
        where = f"frame {index} of {file}" if index else str(file)
        raise ScanError(
            f"{where} is damaged: {_reason(error)}; copy or download it again."
        ) from error


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
    text = " ".join(str(error).split())
    return "it is not an image that can be decoded" if "cannot identify" in text else text
