"""`read_scan` opens any supported file as a `Scan`.

The first bytes of a file select its reader. A file whose suffix contradicts its content is an error, because
it was probably mislabeled or only partly converted.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from ultrasam.errors import ScanError
from ultrasam.extras import needs_opencv
from ultrasam.images.scan import Scan

logger = logging.getLogger(__name__)


def read_scan(path: str | os.PathLike[str]) -> Scan:
    """Open a PNG, JPEG, BMP, TIFF, GIF, DICOM, NIfTI, MHA/MHD, NRRD, MP4 or AVI file.

    What is odd about a file that can be read is logged as a warning and stands in `Scan.notes`.

    Raises:
        ScanError: The file is missing, empty, truncated, too large or not an image, or its suffix names
            another format.
        MissingDependencyError: The format needs an extra that is not installed.
    """
    file = Path(path)
    scan = _reader(kind_of(file))(file)
    if scan.notes:
        _warn(f"{file}: {' '.join(scan.notes)}")
    return scan


def kind_of(file: Path) -> str:
    """The format of a file: png, jpeg, bmp, tiff, gif, dicom, nifti, metaimage, nrrd, mp4 or avi.

    Raises:
        ScanError: The file is missing, empty or in another format, or its suffix names another format.
    """
    if file.is_dir():
        raise ScanError(f"{file} is a folder; give the path of an image.")
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            start = opened.read(512)
    except FileNotFoundError as error:
        raise ScanError(f"{file} does not exist.") from error
    except OSError as error:
        raise ScanError(f"Cannot open {file}: {error.strerror}.") from error
    if size == 0:
        raise ScanError(f"{file} is empty; copy or download it again.")
    return _kind_of(start, file)


@lru_cache(maxsize=1000)
def _warn(message: str) -> None:
    """Log a warning, once: the same file may be opened again for each model, epoch or frame."""
    logger.warning("%s", message)


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


_STILLS = (b"heic", b"heix", b"mif1", b"avif", b"crx ")  # photographs in MP4's kind of container
_IN_PLACE = " (predict, embed, track and measure read it in place with --workers)"
_ARCHIVES = {  # where their mark is, and what else to do with them
    "ZIP": (0, b"PK\x03\x04", _IN_PLACE), "TAR": (257, b"ustar", _IN_PLACE), "RAR": (0, b"Rar!", ""),
    "7z": (0, b"7z\xbc\xaf\x27\x1c", ""),
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
    return starts_as_dicom(start)


def starts_as_dicom(start: bytes) -> bool:
    """Whether the first 512 bytes of a file of any name are those of DICOM, as `is_dicom` has it."""
    return start[128:132] == b"DICM" and _DICOMDIR not in start


def _kind_of(start: bytes, file: Path) -> str:
    found = _kinds_of_bytes(start, file)
    actual = found[0] if found else None
    named = next(
        (k for k, suffixes in _SUFFIXES.items() if file.name.lower().endswith(suffixes)), None
    )
    if actual is None and start.startswith(b"\x1f\x8b"):
        if named == "nifti":
            raise ScanError(f"{file} is compressed by gzip; rename it to {file.name}.gz.")
        raise ScanError(f"{file} is compressed by gzip; extract it first.")
    if actual is None:
        for archive, (at, mark, advice) in _ARCHIVES.items():
            if start.startswith(mark, at):
                raise ScanError(f"{file} is a {archive} archive; extract it first{advice}.")
        kinds = ", ".join(_NAMES.values())
        problem = (
            f"is not a valid {_NAMES[named]} file" if named else "is not in a supported format"
        )
        raise ScanError(f"{file} {problem}; supported are {kinds}.")
    if named is not None and named not in found:
        raise ScanError(
            f"{file} has the suffix of {_NAMES[named]} but holds {_NAMES[actual]}; if that is intended, "
            f"rename it to {_SUFFIXES[actual][0]}."
        )
    return actual


def _kinds_of_bytes(start: bytes, file: Path) -> list[str]:
    """The formats that the first bytes allow, most certain first."""
    name = file.name.lower()
    signatures = (
        # A preamble may be anything, also the header of a TIFF file (PS3.10 7.1).
        ("dicom", start[128:132] == b"DICM"),
        ("png", start.startswith(b"\x89PNG\r\n\x1a\n")),
        ("jpeg", start.startswith(b"\xff\xd8\xff")),
        ("gif", start.startswith((b"GIF87a", b"GIF89a"))),
        ("tiff", start.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))),
        ("nrrd", start.startswith(b"NRRD000")),
        (
            "mp4",
            start[8:12] not in _STILLS
            and start[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free"),
        ),
        ("avi", start.startswith(b"RIFF") and start[8:12] == b"AVI "),
        ("nifti", start.startswith(b"\x1f\x8b") and name.endswith(".nii.gz")),
        ("nifti", start[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c")),
        ("nifti", start[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c")),  # NIfTI-2
        ("metaimage", start.lstrip().startswith((b"ObjectType", b"NDims", b"Comment"))),
        ("bmp", start.startswith(b"BM") and not name.endswith(_SUFFIXES["dicom"])),
        ("dicom", _begins_dicom(start)),  # old scanners omit the preamble
    )
    return [kind for kind, matches in signatures if matches]


def _begins_dicom(start: bytes) -> bool:
    """Whether a file without preamble begins with an element of group 2 or 8."""
    is_typed = start[4:6] in (b"UL", b"OB", b"UI", b"CS", b"SH", b"AE", b"DA", b"LO")
    if start[:3] == b"\0\x08\0":  # big-endian
        return is_typed
    if start[:2] not in (b"\x02\0", b"\x08\0") or start[3:4] != b"\0":
        return False
    length = int.from_bytes(start[4:8], "little")
    return is_typed or (length % 2 == 0 and length <= 64)


def _reader(kind: str) -> Callable[[Path], Scan]:
    # The readers' libraries are heavy, and most sessions need only one.
    if kind == "dicom":
        from ultrasam.images.dicom import read_dicom

        return read_dicom
    if kind in ("nifti", "metaimage", "nrrd"):
        from ultrasam.images.volume import read_volume

        return read_volume
    if kind in ("mp4", "avi"):
        with needs_opencv("Reading MP4 and AVI"):
            from ultrasam.images.cine import read_cine

        return read_cine
    from ultrasam.images.raster import read_raster

    return read_raster
