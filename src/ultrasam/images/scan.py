"""Scan: what any file becomes, and `read_scan`, which makes one of any file.

Which reader a file goes to is decided by its first bytes. A name that contradicts them is refused:
in an archive it means that something was mislabelled or half-converted.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ultrasam.errors import ScanError

Frame = npt.NDArray[np.uint8]

# More pixels than any scanner makes; what claims more is damaged, or a decompression bomb.
MAX_FRAME_PIXELS = 100_000_000
MAX_FRAMES = 100_000


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """Frames of one still, cine or volume, read when asked for.

    Attributes:
        frames: how many there are; slices of a volume count as frames.
        height, width: of every frame, in pixels.
        colour: frames are [H, W, 3] RGB; else [H, W].
        read_frame: the pixels of one frame, uint8; called with 0 … frames - 1.
        spacing: (row, column) distance between pixels' centres in mm, None where unknown.
        source: the file.
        subject: who was scanned, where the file says so.
        frame_time: milliseconds between frames, where known.
    """

    frames: int
    height: int
    width: int
    colour: bool
    read_frame: Callable[[int], Frame]
    spacing: tuple[float, float] | None = None
    source: Path | None = None
    subject: str | None = None
    frame_time: float | None = None

    def __len__(self) -> int:
        return self.frames

    def frame(self, index: int = 0) -> Frame:
        """One frame, [H, W] or [H, W, 3] uint8.

        Raises:
            ScanError: there is no such frame, or its bytes are damaged.
        """
        if not 0 <= index < self.frames:
            raise ScanError(
                f"{self.source or 'The scan'} has {self.frames} frames; there is no frame {index} "
                "(the first is 0)."
            )
        pixels = self.read_frame(index)
        if pixels.shape[:2] != (self.height, self.width):
            raise ScanError(
                f"{self.source}: frame {index} is {pixels.shape[1]} × {pixels.shape[0]} pixels, the "
                f"first {self.width} × {self.height}; split the file into scans of one size."
            )
        return pixels

    @property
    def pixels(self) -> Frame:
        """All frames in memory, [T, H, W] or [T, H, W, 3] uint8."""
        return np.stack([self.frame(index) for index in range(self.frames)])

    @classmethod
    def from_array(
        cls, pixels: npt.ArrayLike, *, spacing: tuple[float, float] | None = None
    ) -> Scan:
        """A still from [H, W] or [H, W, 3] pixels: uint8, wider integers, or floats in 0-1 or 0-255.

        Raises:
            ScanError: another shape or type, no pixels, or values that are not finite.
        """
        array = np.asarray(pixels)
        if array.ndim == 3 and array.shape[2] == 1:
            array = array[..., 0]
        if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
            raise ScanError(
                f"An array of shape {array.shape} is no frame; give [H, W] or [H, W, 3]."
            )
        if not array.size:
            raise ScanError(f"An array of shape {array.shape} has no pixels.")
        frame = to_uint8(array[..., :3] if array.ndim == 3 else array)
        height, width = frame.shape[:2]
        return cls(1, height, width, frame.ndim == 3, lambda _: frame, spacing)


def read_scan(path: str | os.PathLike[str]) -> Scan:
    """Open a PNG, JPEG, BMP, TIFF, GIF, DICOM, NIfTI, MHA/MHD, NRRD, MP4 or AVI file.

    Raises:
        ScanError: missing, empty, truncated, too large, named for another format than it holds, or
            not an image.
    """
    file = Path(path)
    if file.is_dir():
        raise ScanError(f"{file} is a folder; give the path of an image.")
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            start = opened.read(512)
    except FileNotFoundError as error:
        raise ScanError(f"There is no file {file}.") from error
    except OSError as error:
        raise ScanError(f"{file} cannot be opened: {error.strerror}.") from error
    if size == 0:
        raise ScanError(f"{file} is empty; copy or download it again.")
    kind = _kind_of(start, file)
    return _reader(kind)(file)


def check_size(file: Path, height: int, width: int, frames: int = 1) -> None:
    """Refuse a file whose header claims what no scan has.

    Raises:
        ScanError: no pixels, or more than `MAX_FRAME_PIXELS` or `MAX_FRAMES`.
    """
    if height < 1 or width < 1 or frames < 1:
        raise ScanError(f"{file} has no pixels ({width} × {height}, {frames} frames).")
    if height * width > MAX_FRAME_PIXELS or frames > MAX_FRAMES:
        raise ScanError(
            f"{file} claims {frames} frames of {width} × {height} pixels, more than any scan has; it "
            "is damaged or not meant to be opened."
        )


def to_uint8(array: npt.NDArray[np.generic]) -> Frame:
    """Pixels of any numeric type to 0-255.

    8 bits are kept. Wider integers are taken to have the least of 8, 10, 12, 14 and 16 bits (or their
    own maximum, past that) that holds them, so that frames of one scan stay comparable; negative ones
    are mapped from their least to their greatest. Floats within
    0-1 are stretched to 0-255, floats within 0-255 rounded.

    Raises:
        ScanError: complex or other non-numeric pixels, or values that are not finite.
    """
    if array.dtype == np.uint8:
        return array.astype(np.uint8, copy=False)
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    if not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
        raise ScanError(f"Pixels of type {array.dtype} are not an image.")
    values = array.astype(np.float64)
    if not np.isfinite(values).all():
        raise ScanError("Some pixels are not finite numbers.")
    low, high = float(values.min()), float(values.max())
    if low < 0:
        top = high - low or 1.0
        values -= low
    elif np.issubdtype(array.dtype, np.floating):
        top = 1.0 if high <= 1 else max(255.0, high)
    else:
        top = next((2.0**bits - 1 for bits in (8, 10, 12, 14, 16) if high < 2**bits), high)
    return np.clip(values * (255.0 / top) + 0.5, 0, 255).astype(np.uint8)


_SUFFIXES: dict[str, tuple[str, ...]] = {
    "png": (".png",),
    "jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "bmp": (".bmp", ".dib"),
    "tiff": (".tif", ".tiff"),
    "gif": (".gif",),
    "dicom": (".dcm", ".dicom", ".ima"),
    "nifti": (".nii", ".nii.gz"),
    "metaimage": (".mha", ".mhd"),
    "nrrd": (".nrrd", ".nhdr"),
    "mp4": (".mp4", ".m4v", ".mov"),
    "avi": (".avi",),
}
_NAMES = {
    "png": "PNG", "jpeg": "JPEG", "bmp": "BMP", "tiff": "TIFF", "gif": "GIF", "dicom": "DICOM",
    "nifti": "NIfTI", "metaimage": "MHA/MHD", "nrrd": "NRRD", "mp4": "MP4", "avi": "AVI",
}  # fmt: skip


def scan_suffixes() -> tuple[str, ...]:
    """All suffixes of files that `read_scan` opens."""
    return tuple(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes)


def _kind_of(start: bytes, file: Path) -> str:
    found = _kind_of_bytes(start, file)
    named = next(
        (k for k, suffixes in _SUFFIXES.items() if file.name.lower().endswith(suffixes)), None
    )
    if found is None:
        kinds = ", ".join(_NAMES.values())
        what = f"named like {_NAMES[named]}, but holds none" if named else "not an image"
        raise ScanError(f"{file} is {what}; images are {kinds}.")
    if named is not None and named != found:
        raise ScanError(
            f"{file} is named like {_NAMES[named]}, but holds {_NAMES[found]}; rename it to "
            f"{_SUFFIXES[found][0]} if that is what it should be."
        )
    return found


def _kind_of_bytes(start: bytes, file: Path) -> str | None:
    name = file.name.lower()
    signatures = (
        ("png", start.startswith(b"\x89PNG\r\n\x1a\n")),
        ("jpeg", start.startswith(b"\xff\xd8\xff")),
        ("gif", start.startswith((b"GIF87a", b"GIF89a"))),
        ("tiff", start.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))),
        ("dicom", start[128:132] == b"DICM"),
        ("nrrd", start.startswith(b"NRRD000")),
        ("mp4", start[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free")),
        ("avi", start.startswith(b"RIFF") and start[8:12] == b"AVI "),
        ("nifti", start.startswith(b"\x1f\x8b") and name.endswith(".nii.gz")),
        ("nifti", start[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c")),
        ("metaimage", start.lstrip().startswith((b"ObjectType", b"NDims", b"Comment"))),
        ("bmp", start.startswith(b"BM") and not name.endswith(_SUFFIXES["dicom"])),
        # Old scanners leave out the preamble: the first tag is then of group 2 or 8.
        ("dicom", start[:2] in (b"\x02\0", b"\x08\0") and name.endswith(_SUFFIXES["dicom"])),
    )
    return next((kind for kind, matches in signatures if matches), None)


def _reader(kind: str) -> Callable[[Path], Scan]:
    # The libraries behind the readers are heavy, and most sessions need one of them.
    if kind == "dicom":
        from ultrasam.images.dicom import read_dicom

        return read_dicom
    if kind in ("nifti", "metaimage", "nrrd"):
        from ultrasam.images.volume import read_volume

        return read_volume
    if kind in ("mp4", "avi"):
        from ultrasam.images.cine import read_cine

        return read_cine
    from ultrasam.images.raster import read_raster

    return read_raster
