"""`read_scan` opens any supported file as a `Scan`.

The first bytes of a file select its reader. A file whose suffix contradicts its content is an error, because
it was probably mislabeled or only partly converted.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ultrasam.errors import ScanError
from ultrasam.images.scan import Scan


def read_scan(path: str | os.PathLike[str]) -> Scan:
    """Open a PNG, JPEG, BMP, TIFF, GIF, DICOM, NIfTI, MHA/MHD, NRRD, MP4 or AVI file.

    Raises:
        ScanError: The file is missing, empty, truncated, too large or not an image, or its suffix names
            another format.
        MissingDependencyError: The format needs an extra that is not installed.
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
        raise ScanError(f"Cannot open {file}: {error.strerror}.") from error
    if size == 0:
        raise ScanError(f"{file} is empty; copy or download it again.")
    kind = _kind_of(start, file)
    return _reader(kind)(file)


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


_DICOMDIR = b"1.2.840.10008.1.3.10"  # the SOP class of a directory of files


def scan_suffixes() -> tuple[str, ...]:
    """All file suffixes that `read_scan` supports."""
    return tuple(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes)


def is_dicom(path: Path) -> bool:
    """Whether a file of any name is DICOM by its first bytes; a DICOMDIR, which lists images, is none."""
    try:
        with path.open("rb") as opened:
            start = opened.read(512)
    except OSError:
        return False
    return start[128:132] == b"DICM" and _DICOMDIR not in start


def _kind_of(start: bytes, file: Path) -> str:
    actual = _kind_of_bytes(start, file)
    named = next(
        (k for k, suffixes in _SUFFIXES.items() if file.name.lower().endswith(suffixes)), None
    )
    if actual is None:
        kinds = ", ".join(_NAMES.values())
        problem = f"is not a valid {_NAMES[named]} file" if named else "is not an image"
        raise ScanError(f"{file} {problem}; supported formats are {kinds}.")
    if named is not None and named != actual:
        raise ScanError(
            f"{file} has the suffix of {_NAMES[named]} but holds {_NAMES[actual]}; if that is intended, "
            f"rename it to {_SUFFIXES[actual][0]}."
        )
    return actual


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
        # Old scanners omit the preamble; the first tag is then in group 2 or 8.
        ("dicom", start[:2] in (b"\x02\0", b"\x08\0") and name.endswith(_SUFFIXES["dicom"])),
    )
    return next((kind for kind, matches in signatures if matches), None)


def _reader(kind: str) -> Callable[[Path], Scan]:
    # The readers' libraries are heavy, and most sessions need only one.
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
