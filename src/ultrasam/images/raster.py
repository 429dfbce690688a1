"""Read PNG, JPEG, BMP, TIFF and GIF; pages and animation frames are the scan's frames.

Pillow reads all but the deep colors and the rarer kinds of TIFF, of which it would lose bits or that it does
not know; those, OpenCV reads.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import IO, Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from ultrasam.errors import MissingDependencyError, ScanError, one_line
from ultrasam.images.deep_raster import RawPixels, decode_deep, is_deep_png
from ultrasam.images.pillow import pixels_of
from ultrasam.images.pixels import Frame, GrayScale
from ultrasam.images.quiet import quiet_warnings
from ultrasam.images.scan import Scan, check_size
from ultrasam.images.tiff import TIFF_STARTS, TiffPage, read_pages

T = TypeVar("T")
_ORIENTATION = 0x0112
_TRAILER = 512  # bytes; a GIF ends with a semicolon, and some writers pad it with zeros


def read_raster(file: Path) -> Scan:
    """Open an image file.

    Transparent images are blended with black, EXIF orientation is applied, palettes become RGB, and more than
    8 bits are converted by one `GrayScale` for all pages.

    Raises:
        ScanError: The file is damaged, truncated, too large, or of a kind that is not supported.
    """
    pages = _Pages(file)
    first = pages.read(0)
    return Scan(
        pages.count,
        first.shape[0],
        first.shape[1],
        first.ndim == 3,
        lambda index: first if index == 0 else pages.read(index),
        source=file,
        frame_time=pages.delay,
        notes=pages.notes,
    )


def decode_frame(data: bytes, name: str) -> Frame:
    """Decode an encoded image: [H, W] uint8 if all channels are equal, else [H, W, 3].

    Args:
        name: of the image, for error messages.

    Raises:
        ScanError: The data is damaged, truncated or too large, of a kind that is not supported, or has
            several pages.
    """
    require_one_page(data, name)
    with _errors(name):
        opened = io.BytesIO(data)
        raw = _read_raw(opened, 0, _pages(opened))
        frame = raw.frame(GrayScale.of(raw.values, bits=raw.bits))
    first = frame if frame.ndim == 2 else frame[..., 0]
    if frame.ndim == 3 and all(np.array_equal(first, frame[..., i]) for i in (1, 2)):
        return np.ascontiguousarray(first)
    return frame


def decode_values(data: bytes, name: str, *, indices: bool = False) -> npt.NDArray[np.generic]:
    """Decode a mask's stored values: [H, W], or [H, W, 3] for a color mask.

    Transparency is dropped; one-bit masks become 0 and 255; colors are 8-bit.

    Args:
        name: of the image, for error messages.
        indices: return a palette image's indices instead of its colors.

    Raises:
        ScanError: The data is damaged, truncated or too large, or of a kind that is not supported.
    """
    with _errors(name):
        decoded = _decode_mask(io.BytesIO(data), name)
        if not isinstance(decoded, Image.Image):
            return decoded
        return np.asarray(decoded) if indices and decoded.mode == "P" else _to_values(decoded)


def decode_image(data: bytes, name: str, convert: Callable[[Image.Image], T]) -> T:
    """Decode the first frame of an encoded image, turned as its EXIF orientation says, by ``convert``.

    Args:
        data: the file's content.
        name: of the image, for error messages.
        convert: what to make of the decoded image; kinds that Pillow does not know are of mode I, F or RGB.

    Raises:
        ScanError: The data is damaged, truncated or too large, or of a kind that is not supported.
    """
    with _errors(name):
        decoded = _decode_mask(io.BytesIO(data), name)
        if not isinstance(decoded, Image.Image):
            if decoded.ndim == 2:
                holds = decoded.dtype.kind != "f" and int(abs(decoded).max(initial=0)) < 2**31
                decoded = decoded.astype(np.int32 if holds else np.float32)
            decoded = Image.fromarray(decoded)
        return convert(decoded)


def count_frames(data: bytes, name: str) -> int:
    """The number of pages or animation frames of an encoded image.

    Raises:
        ScanError: The data is damaged, or too large.
    """
    with _errors(name):
        opened = io.BytesIO(data)
        pages = _pages(opened)
        if pages:
            return len(pages)
        with _open(opened) as image:
            return 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))


def require_one_page(data: bytes, name: str) -> None:
    """Refuse a file with several pages or frames, of which all but the first would be lost.

    Raises:
        ScanError: It has several, or is damaged.
    """
    pages = count_frames(data, name)
    if pages > 1:
        raise ScanError(f"{name} has {pages} pages; save each as a file of its own.")


def read_orientation(file: Path) -> tuple[int, tuple[int, int]]:
    """The EXIF orientation of an image file, 1 to 8, and its stored (width, height); 1 if it has none."""
    try:
        with file.open("rb") as opened, _open(opened) as image:
            orientation = int(image.getexif().get(_ORIENTATION, 1))
            return orientation if 1 <= orientation <= 8 else 1, image.size
    except Exception:  # reading the image tells what is wrong with it
        return 1, (0, 0)


def _decode_mask(opened: IO[bytes], name: str) -> Image.Image | npt.NDArray[Any]:
    """The first frame, turned; of a kind that Pillow does not keep in full, its values, colors as uint8."""
    page = _page(_pages(opened), 0)
    if not _is_deep(opened, page):
        with _open(opened) as image:
            check_size(Path(name), image.height, image.width)
            turned = ImageOps.exif_transpose(image)
            turned.load()
            return turned
    values = decode_deep(opened, 0, page).values
    if values.ndim == 3:
        values = values if values.max(initial=0) <= 255 else values * (255 / 65535)
        values = values.astype(np.uint8)
    return values


class _Pages:
    """The pages of a file; those of more than 8 bits share a gray scale, which is found on first use."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lock = Lock()
        self.scales: dict[np.dtype[Any], GrayScale] = {}
        self.delay: float | None = None
        self.notes: tuple[str, ...] = ()
        with _errors(str(file)), file.open("rb") as opened:
            self.pages = _pages(opened)
            page = _page(self.pages, 0)
            if page is not None and page.is_for_opencv:
                self.count, size = len(self.pages), (page.height, page.width)
            else:
                with _open(opened) as image:
                    # TIFF pages form a linked list, which may be damaged.
                    self.count = int(getattr(image, "n_frames", 1))
                    size, delay = (image.height, image.width), image.info.get("duration")
                    self.delay = float(delay) if self.count > 1 and delay else None
            self.notes = _notes(self.pages, self.count, opened)
        check_size(file, *size, self.count)

    def read(self, index: int) -> Frame:
        """Decode a page.

        Raises:
            ScanError: The page is damaged, or of a kind that is not supported.
        """
        where = f"frame {index} of {self.file}" if index else str(self.file)
        with _errors(where):
            raw = self._read_raw(index)
            return raw.frame(self._scale(raw))

    def _read_raw(self, index: int) -> RawPixels:
        with self.file.open("rb") as opened:
            return _read_raw(opened, index, self.pages)

    def _scale(self, raw: RawPixels) -> GrayScale:
        own = GrayScale.of(raw.values, bits=raw.bits)  # also refuses what is not an image
        kind = raw.values.dtype
        if self.count == 1 or kind == np.uint8:
            return own
        with self.lock:
            if kind not in self.scales:
                samples = list(self._samples(kind, raw.values.shape))
                self.scales[kind] = GrayScale.of(*(samples or [raw.values]), bits=raw.bits)
            return self.scales[kind]

    def _samples(self, kind: np.dtype[Any], shape: tuple[int, ...]) -> Iterator[npt.NDArray[Any]]:
        """Pixels of each page of a type and shape; a damaged page is refused when it is read itself."""
        for index in range(self.count):
            try:
                values = self._read_raw(index).values
            except Exception:
                continue
            finite = values.dtype.kind != "f" or bool(np.isfinite(values).all())
            if values.dtype == kind and values.shape == shape and finite:
                step = max(1, int((values.size * self.count / 1_000_000) ** 0.5))
                yield values[::step, ::step].copy()


def _notes(pages: list[TiffPage], count: int, opened: IO[bytes]) -> tuple[str, ...]:
    """What a file lacks, though its frames can be read."""
    opened.seek(0)
    if opened.read(4) == b"GIF8":
        opened.seek(max(0, opened.seek(0, 2) - _TRAILER))
        if not opened.read().rstrip(b"\0").endswith(b";"):
            there = "1 frame is" if count == 1 else f"{count} frames are"
            return (f"Its end is missing: {there} there; copy or download it again.",)
    # ImageJ writes stacks of more than 4 GB behind a single directory.
    lines = pages[0].description.splitlines() if pages else []
    if lines and lines[0].startswith("ImageJ="):
        for line in lines:
            name, _, number = line.partition("=")
            if name == "images" and number.isdigit() and int(number) > count:
                return (
                    f"ImageJ wrote {number} images into it, of which only {count} can be read.",
                )
    return ()


@contextmanager
def _errors(name: str) -> Iterator[None]:
    """Turn any error into a `ScanError` that names the file; Pillow raises what its parsers raise."""
    try:
        with quiet_warnings():  # real damage raises an error, and `check_size` limits the size
            yield
    except MissingDependencyError:
        raise
    except ScanError as error:
        text = str(error)
        if text.startswith(name):
            raise
        raise type(error)(f"{name}: {text}") from error
    except Image.DecompressionBombError as error:
        raise ScanError(
            f"{name} declares more pixels than any scan has; it is damaged or malicious."
        ) from error
    except Exception as error:
        unidentified = "cannot identify" in str(error)
        reason = "it is not an image that can be decoded" if unidentified else one_line(error)
        raise ScanError(f"{name} is damaged: {reason}; copy or download it again.") from error


def _open(opened: IO[bytes]) -> Image.Image:
    opened.seek(0)
    return Image.open(opened)


def _pages(opened: IO[bytes]) -> list[TiffPage]:
    """The pages of a TIFF file as far as they can be read; none of another file."""
    opened.seek(0)
    if opened.read(4) not in TIFF_STARTS:
        return []
    try:
        return read_pages(opened)
    except Exception:
        return []  # Pillow says what is damaged


def _page(pages: list[TiffPage], index: int) -> TiffPage | None:
    """A page of a TIFF file that can be read; None of another file."""
    page = pages[index] if index < len(pages) else None
    if page is not None and page.unsupported is not None:
        raise ScanError(f"this kind of TIFF is not supported: {page.unsupported}.")
    return page


def _is_deep(opened: IO[bytes], page: TiffPage | None) -> bool:
    return page.is_for_opencv if page is not None else is_deep_png(opened)


def _read_raw(opened: IO[bytes], index: int, pages: list[TiffPage]) -> RawPixels:
    page = _page(pages, index)
    if _is_deep(opened, page):
        if page is not None:
            check_size(Path("The image"), page.height, page.width)
            return decode_deep(opened, index, page)
        with _open(opened) as image:
            check_size(Path("The image"), image.height, image.width)
            image.load()  # Pillow finds damage that OpenCV prints to the terminal
            orientation = int(image.getexif().get(_ORIENTATION, 1))
            if getattr(image, "n_frames", 1) == 1:
                return decode_deep(opened, 0, None, orientation=orientation)
    with _open(opened) as image:
        if index:
            image.seek(index)
        check_size(Path("The image"), image.height, image.width)
        values = pixels_of(ImageOps.exif_transpose(image))
    if values.dtype == np.uint8 or page is None:
        return RawPixels(values)
    return RawPixels(values, None, zero_is_white=page.zero_is_white, bits=page.bits)


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
