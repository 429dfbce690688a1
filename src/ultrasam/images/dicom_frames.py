"""Find the frames in the pixel data of a DICOM file, and decode them one by one.

How many frames there are, and whether they are whole, is decided by the data; the header can be wrong.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ultrasam.errors import ScanError
from ultrasam.extras import needs
from ultrasam.images.dicom_codecs import read_markers
from ultrasam.images.dicom_colors import is_planar
from ultrasam.images.dicom_format import PixelFormat

with needs("Reading DICOM", extra="dicom"):
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, RLELossless

Stored = npt.NDArray[Any]

_KEYWORDS = {
    b"\xe0\x7f\x10\x00": "PixelData",
    b"\xe0\x7f\x08\x00": "FloatPixelData",
    b"\xe0\x7f\x09\x00": "DoubleFloatPixelData",
    b"\x7f\xe0\x00\x10": "PixelData",
    b"\x7f\xe0\x00\x08": "FloatPixelData",
    b"\x7f\xe0\x00\x09": "DoubleFloatPixelData",
}
_UNDEFINED = 0xFFFFFFFF
_ITEM, _DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"


@dataclass(frozen=True, slots=True)
class Element:
    """Where the pixel data stand.

    Attributes:
        open: opens the file, or what was inflated from it.
        keyword: name of the element.
        vr: its type, or "" if the file doesn't state it.
        big_endian: byte order.
        start: position of its first byte.
        length: its bytes, or None for a sequence of fragments.
        available: bytes from `start` to the file's end.
    """

    open: Callable[[], BinaryIO]
    keyword: str
    vr: str
    big_endian: bool
    start: int
    length: int | None
    available: int


def find_element(open_file: Callable[[], BinaryIO], position: int) -> Element | None:
    """The element of pixel data that begins at `position`, or None if another or none does."""
    with open_file() as stream:
        size = stream.seek(0, io.SEEK_END)
        stream.seek(position)
        head = stream.read(12)
    keyword = _KEYWORDS.get(head[:4])
    if keyword is None or len(head) < 8:
        return None
    big = head[:2] == b"\x7f\xe0"
    # Of the first letters of these types, none is even, as each length is: no length looks like one.
    explicit = head[4:6] in (b"OB", b"OW", b"OF", b"OD", b"UN") and head[6:8] == b"\0\0"
    length = int.from_bytes(head[8:12] if explicit else head[4:8], "big" if big else "little")
    start = position + (12 if explicit else 8)
    return Element(
        open_file,
        keyword,
        head[4:6].decode() if explicit else "",
        big,
        start,
        None if length == _UNDEFINED else length,
        max(0, size - start),
    )


@dataclass(frozen=True, slots=True)
class Frames:
    """The frames of one file; `decode` returns their stored values.

    Attributes:
        format: the type of the pixels.
        count: number of frames.
        decode: returns frame 0 … count - 1 as it is stored, [H, W] or [H, W, 3] without subsampling.
        has_unused_bits: the bits beside the samples are as in the file; no codec has removed them.
        color: 'RGB' or 'YBR_FULL' if a codestream states it.
    """

    format: PixelFormat
    count: int
    decode: Callable[[int], Stored]
    has_unused_bits: bool
    color: str | None = None


def find_frames(
    file: Path,
    element: Element,
    syntax: UID,
    pixels: PixelFormat,
    declared: int | None,
    notes: list[str],
) -> Frames:
    """Find the frames; whatever contradicts the header is told in `notes`.

    Args:
        declared: NumberOfFrames, if the header has it.

    Raises:
        ScanError: Not one frame is whole, or data and header contradict each other.
    """
    if not syntax.is_encapsulated:
        if element.length is None:
            raise ScanError(
                f"The pixels of {file} are compressed, but its header does not say how "
                "(TransferSyntaxUID); export it again."
            )
        return _uncompressed(file, element, pixels, declared, notes)
    if element.length is not None and _head(element) != _ITEM:
        notes.append(f"The header says {syntax.name}, but the pixels are not compressed.")
        return _uncompressed(file, element, pixels, declared, notes)
    return _compressed(file, element, syntax, pixels, declared, notes)


def _head(element: Element) -> bytes:
    with element.open() as stream:
        stream.seek(element.start)
        return stream.read(4)


def _options(pixels: PixelFormat, frames: int) -> dict[str, Any]:
    """As pydicom's decoders take them."""
    options: dict[str, Any] = {
        "rows": pixels.rows,
        "columns": pixels.columns,
        "samples_per_pixel": pixels.samples,
        "photometric_interpretation": pixels.kind,
        "number_of_frames": frames,
        "bits_allocated": pixels.allocated,
        "bits_stored": pixels.stored,
        "pixel_representation": int(pixels.signed),
        "pixel_keyword": pixels.keyword,
    }
    return options | ({"planar_configuration": int(pixels.planar)} if pixels.samples > 1 else {})


def _uncompressed(
    file: Path, element: Element, pixels: PixelFormat, declared: int | None, notes: list[str]
) -> Frames:
    held = min(element.length or 0, element.available)
    cut = (element.length or 0) > element.available
    if pixels.kind in ("YBR_ICT", "YBR_RCT"):
        notes.append(
            f"PhotometricInterpretation is {pixels.kind}, which uncompressed pixels cannot be; RGB is used."
        )
        pixels = replace(pixels, kind="RGB")
    if pixels.kind == "YBR_FULL_422" and not cut:
        pixels = _expanded(pixels, declared, held, notes)
    count = _count(file, element, pixels, declared, held, cut, notes)
    if (pixels.samples, pixels.allocated) == (3, 8) and pixels.kind != "YBR_FULL_422":
        planar = is_planar(_first_samples(element, pixels), pixels.rows, pixels.planar)
        if planar != pixels.planar:
            notes.append(
                f"PlanarConfiguration is {int(pixels.planar)}; by the pixels, it is {int(planar)}."
            )
            pixels = replace(pixels, planar=planar)
    order = ExplicitVRBigEndian if element.big_endian else ExplicitVRLittleEndian
    decoder = get_decoder(order)
    options = _options(pixels, count)
    # Unused bits are the business of `dicom_gray`.
    options |= {"correct_unused_bits": False, "pixel_vr": element.vr}

    def decode(index: int) -> Stored:
        with element.open() as stream:
            stream.seek(element.start)
            frame, _ = decoder.as_array(stream, index=index, raw=True, **options)
        return np.asarray(frame)

    return Frames(pixels, count, decode, has_unused_bits=True)


def _expanded(
    pixels: PixelFormat, declared: int | None, held: int, notes: list[str]
) -> PixelFormat:
    """Colors that are called half as wide as gray values, but of which the file holds one for each pixel."""
    full = replace(pixels, kind="RGB")
    half, whole = pixels.frame_bits // 8, full.frame_bits // 8
    fits = held - held % 2 in (n * half for n in ((declared,) if declared else (held // half,)))
    expected = (declared or max(1, held // whole)) * whole
    if fits or not expected <= held <= expected + expected % 2:
        return pixels
    notes.append(
        "PhotometricInterpretation is YBR_FULL_422, but each pixel has its own color; by the gray pixels, "
        "colors are read as RGB or YBR_FULL."
    )
    return full


def _first_samples(element: Element, pixels: PixelFormat) -> npt.NDArray[np.uint8]:
    with element.open() as stream:
        stream.seek(element.start)
        return np.frombuffer(stream.read(pixels.frame_bits // 8), np.uint8)


def _count(
    file: Path,
    element: Element,
    pixels: PixelFormat,
    declared: int | None,
    held: int,
    cut: bool,
    notes: list[str],
) -> int:
    """The number of whole frames in uncompressed data."""
    bits = pixels.frame_bits
    whole = held * 8 // bits
    wanted = declared or 1
    size = f"{wanted} frame{'s' * (wanted > 1)} of {pixels.columns} × {pixels.rows} pixels"
    if whole < wanted:
        needed = -(-wanted * bits // 8)
        # A header of another type, of more samples or of wider ones, asks for such a multiple of the data.
        other_type = any(held * parts in (needed, needed * 2) for parts in (2, 3))
        if not whole or (not cut and (other_type or held * 8 != whole * bits)):
            raise ScanError(
                f"{file} is cut off or its header is wrong: its pixel data hold {held:,} bytes, but {size} "
                f"need {needed:,}; copy or export it again."
            )
        notes.append(f"Only {whole} of {wanted} frames are in the file; it may be cut off.")
        return whole
    excess = held - -(-wanted * bits // 8)
    if excess <= 1:
        return wanted
    rest = held * 8 - whole * bits
    if whole > wanted and (
        declared is None or (rest < 16 and not _is_zero(element, held - excess, held))
    ):
        said = "is missing or invalid" if declared is None else f"is {declared}"
        notes.append(
            f"NumberOfFrames {said}, but the pixel data hold {whole} frames; all are read."
        )
        wanted = whole
        excess = rest // 8
    if excess > 1 and not _is_zero(element, held - excess, held):
        notes.append(
            f"The pixel data are {excess:,} bytes longer than {wanted} frames; these are ignored."
        )
    return wanted


def _is_zero(element: Element, start: int, end: int) -> bool:
    with element.open() as stream:
        stream.seek(element.start + start)
        while start < end:
            part = stream.read(min(end - start, 1 << 20))
            if not part or part.strip(b"\0"):
                return False
            start += len(part)
    return True


Fragment = tuple[int, int]  # position, bytes


def _compressed(
    file: Path,
    element: Element,
    syntax: UID,
    pixels: PixelFormat,
    declared: int | None,
    notes: list[str],
) -> Frames:
    with element.open() as stream:
        groups, cut = _fragments(stream, element, declared)
    if not groups:
        raise ScanError(f"{file} is cut off in its first frame; copy or export it again.")
    count, wanted = len(groups), declared or 1
    if count < wanted:
        notes.append(f"Only {count} of {wanted} frames are in the file; it may be cut off.")
    elif count > wanted:
        said = "is missing or invalid" if declared is None else f"is {declared}"
        notes.append(
            f"NumberOfFrames {said}, but the pixel data hold {count} frames; all are read."
        )
    elif cut:
        notes.append("The file is cut off after its last frame.")
    decoder = get_decoder(syntax)

    def codestream(index: int) -> bytes:
        with element.open() as stream:
            parts = []
            for start, length in groups[index]:
                stream.seek(start)
                parts.append(stream.read(length))
        return b"".join(parts)

    markers = read_markers(codestream(0))
    options = _options(pixels, 1)
    if pixels.samples == 3:
        # The stored values do not depend on it, but pydicom warns if it contradicts the markers.
        options["photometric_interpretation"] = "RGB" if markers.named_rgb else "YBR_FULL"

    def decode(index: int) -> Stored:
        data = encapsulate([codestream(index)], has_bot=False)
        frame, _ = decoder.as_array(data, index=0, raw=True, validate=False, **options)
        return np.asarray(frame)

    return Frames(pixels, count, decode, syntax == RLELossless, markers.color)


def _fragments(
    stream: BinaryIO, element: Element, declared: int | None
) -> tuple[list[list[Fragment]], bool]:
    """The whole frames, each as its fragments, and whether the file ends before they do (PS3.5 A.4)."""
    fragments: list[Fragment] = []
    begins: list[bool] = []
    place, end = element.start, element.start + element.available
    cut = True
    while place + 8 <= end:
        stream.seek(place)
        head = stream.read(8)
        length = int.from_bytes(head[4:], "little")
        if head[:4] == _DELIMITER:
            cut = False
            break
        if head[:4] != _ITEM or place + 8 + length > end:
            break
        begins.append(_begins_frame(stream.read(min(64, length))))
        fragments.append((place + 8, length))
        place += 8 + length
    offsets, fragments, begins = fragments[:1], fragments[1:], begins[1:]
    if not fragments:
        return [], cut
    if not begins[0] or (declared == len(fragments) and sum(begins) < declared):
        begins = _by_table(stream, offsets[0], fragments, declared)
    groups: list[list[Fragment]] = []
    for fragment, first in zip(fragments, begins, strict=True):
        if first:
            groups.append([])
        groups[-1].append(fragment)
    if cut and len(groups[-1]) < max(len(group) for group in groups):
        groups.pop()  # the last frame lacks fragments
    return groups, cut


def _begins_frame(data: bytes) -> bool:
    """Whether a fragment begins with a JPEG, JPEG-LS, JPEG 2000 or JPEG XL codestream, or a header of RLE."""
    if data.startswith((b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ", b"\xff\x0a")):
        return True
    segments = int.from_bytes(data[:4], "little")
    return len(data) == 64 and 1 <= segments <= 15 and data[4:8] == b"\x40\0\0\0"


def _by_table(
    stream: BinaryIO, table: Fragment, fragments: list[Fragment], declared: int | None
) -> list[bool]:
    """Which fragments begin a frame, by the table of offsets, if the fragments themselves do not tell."""
    stream.seek(table[0])
    offsets = set(np.frombuffer(stream.read(table[1] // 4 * 4), "<u4").tolist()) | {0}
    base = fragments[0][0]
    known = [start - base in offsets for start, _ in fragments]
    if sum(known) == 1 and declared == len(fragments):
        return [True] * len(fragments)
    return known
