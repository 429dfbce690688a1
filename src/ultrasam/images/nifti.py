"""What ITK passes over in the header of NIfTI: missing voxels, and sheared axes.

Source: the NIfTI-1 standard, nifti1.h.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

from ultrasam.errors import ScanError

_HEADER = 348
_MAX_SKEW = 0.02  # cosine of the angle between rows and columns; one degree off a right angle
_BLOCK = 1 << 22
_DENSEST = 1032  # bytes that DEFLATE stores in one, at most


def check_nifti(file: Path, name: str) -> None:
    """Refuse NIfTI-2, and a file that lacks voxels, which ITK would take for 0.

    Files of other formats pass.

    Args:
        name: of the file, for error messages.

    Raises:
        ScanError: It is NIfTI-2 or truncated.
    """
    header = _read_header(file, name)
    if header[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c"):
        raise ScanError(f"{name} is NIfTI-2, which is not supported; save it as NIfTI-1.")
    order = _byte_order(header)
    if order is None or header[344:347] != b"n+1":
        return
    count, *sizes = struct.unpack(f"{order}8h", header[40:56])
    bits = struct.unpack(f"{order}h", header[72:74])[0]
    offset = struct.unpack(f"{order}f", header[108:112])[0]
    if not (0 < count < 8 and bits > 0 and offset >= _HEADER and min(sizes[:count]) > 0):
        return  # ITK names what is wrong
    declared = int(offset) + math.prod(sizes[:count]) * bits // 8
    length = file.stat().st_size
    if _is_packed(file):
        if declared > _DENSEST * length:  # known without unpacking it, which may take long
            raise _truncated(name, declared, f"can hold only {_DENSEST * length}")
        length = _unpacked_length(file, declared)
    if length < declared:
        raise _truncated(name, declared, f"has {length}")


def _truncated(name: str, declared: int, held: str) -> ScanError:
    return ScanError(
        f"{name} is truncated: it declares {declared} bytes and {held}; copy or download it again."
    )


def plane_is_skewed(file: Path) -> bool:
    """Whether a NIfTI file's rows and columns are not at right angles."""
    axes = _axes(file)
    return axes is not None and _is_skewed(axes[0], axes[1])


def slices_are_skewed(file: Path) -> bool:
    """Whether a NIfTI file's slices are shifted against each other, not stacked at right angles."""
    axes = _axes(file)
    return axes is not None and any(_is_skewed(axes[2], axis) for axis in axes[:2])


def _axes(file: Path) -> tuple[tuple[float, ...], ...] | None:
    """The steps along rows, columns and slices that a NIfTI file's affine gives; None if it has none."""
    header = _read_header(file, str(file))
    order = _byte_order(header)
    if order is None or struct.unpack(f"{order}h", header[254:256])[0] <= 0:  # sform_code
        return None
    rows = struct.unpack(f"{order}12f", header[280:328])  # srow_x, srow_y, srow_z
    return rows[0::4], rows[1::4], rows[2::4]


def _is_skewed(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    lengths = math.hypot(*a) * math.hypot(*b)
    return lengths > 0 and abs(sum(x * y for x, y in zip(a, b, strict=True))) / lengths > _MAX_SKEW


def lacks_spacing(file: Path) -> bool:
    """Whether a NIfTI file's pixdim has no positive number for rows or columns; ITK takes these for 1."""
    header = _read_header(file, str(file))
    order = _byte_order(header)
    if order is None:
        return False
    return not all(0 < step < math.inf for step in struct.unpack(f"{order}2f", header[80:88]))


def _read_header(file: Path, name: str) -> bytes:
    try:
        with gzip.open(file) if _is_packed(file) else file.open("rb") as opened:
            start = opened.read(_HEADER)
    except (OSError, EOFError, zlib.error) as error:
        raise ScanError(f"{name} is damaged or truncated; copy or download it again.") from error
    return start


def _byte_order(header: bytes) -> str | None:
    """The byte order of NIfTI-1, as in `struct`; None for other formats."""
    if len(header) < _HEADER:
        return None
    return {b"\x5c\x01\0\0": "<", b"\0\0\x01\x5c": ">"}.get(header[:4])


def _is_packed(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(2) == b"\x1f\x8b"


def _unpacked_length(file: Path, declared: int) -> int:
    """The unpacked size of a file, in bytes; counted no further than needed."""
    with file.open("rb") as opened:
        opened.seek(-4, 2)
        if (
            int.from_bytes(opened.read(4), "little") == declared % 2**32
        ):  # of a whole file in one piece
            return declared
    length = 0
    try:
        with gzip.open(file) as unpacked:
            while length < declared and (block := unpacked.read(_BLOCK)):
                length += len(block)
    except (OSError, EOFError, zlib.error):
        pass
    return length
