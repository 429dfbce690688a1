"""Find the frames in the pixel data of a DICOM file, and decode them one by one.

How many frames there are, and whether they are whole, is decided by the data; the header can be wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ultrasam.errors import ScanError
from ultrasam.extras import needs
from ultrasam.images.dicom_codecs import check_decodable
from ultrasam.images.dicom_codestream import Codestream, is_sound, read_codestream, without_boxes
from ultrasam.images.dicom_colors import are_colors, are_wider, is_planar, looks_gray
from ultrasam.images.dicom_file import Element
from ultrasam.images.dicom_format import COLOR, PixelFormat, with_samples
from ultrasam.images.dicom_fragments import Fragment, find_fragments
from ultrasam.images.scan import check_size

with needs("Reading DICOM", extra="dicom"):
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, RLELossless

Stored = npt.NDArray[Any]

_ITEM = b"\xfe\xff\x00\xe0"
_JPEG = "1.2.840.10008.1.2.4."
_ALIKE = [  # transfer syntaxes of one kind of codestream
    {_JPEG + number for number in numbers}
    for numbers in (("50", "51"), ("57", "70"), ("80", "81"), ("90", "91"))
]


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
            return _compressed(file, element, syntax, pixels, declared, notes)
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
    length = min(element.length or 0, element.available)
    cut = (element.length or 0) > element.available
    if pixels.kind in ("YBR_ICT", "YBR_RCT"):
        notes.append(
            f"PhotometricInterpretation is {pixels.kind}, which uncompressed pixels cannot be; RGB is used."
        )
        pixels = replace(pixels, kind="RGB")
    pixels = with_samples(pixels, _samples(pixels, declared, length), notes)
    if pixels.kind == "YBR_FULL_422" and not cut:
        pixels = _expanded(element, pixels, declared, length, notes)
    if (pixels.samples, pixels.allocated) == (1, 8) and (declared or 1) == 1:
        pixels = _unlike_gray(file, element, pixels, length, notes)
    count = _count(file, element, pixels, declared, length, cut, notes)
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


def _samples(pixels: PixelFormat, declared: int | None, length: int) -> int:
    """Samples per pixel; where the header contradicts itself, by the length of the data."""
    is_color = pixels.kind in COLOR
    if is_color == (pixels.samples == 3):
        return pixels.samples
    other = 4 - pixels.samples
    expected = replace(pixels, samples=other).frame_bits // 8 * (declared or 1)
    return other if expected <= length <= expected + expected % 2 else pixels.samples


def _expanded(
    element: Element, pixels: PixelFormat, declared: int | None, length: int, notes: list[str]
) -> PixelFormat:
    """Colors that are called half as wide as gray values, but of which the file holds one for each pixel."""
    full = replace(pixels, kind="RGB")
    half, whole = pixels.frame_bits // 8, full.frame_bits // 8
    fits = length - length % 2 in (
        n * half for n in ((declared,) if declared else (length // half,))
    )
    expected = (declared or max(1, length // whole)) * whole
    if not expected <= length <= expected + expected % 2:
        return pixels
    if fits and (declared or not looks_gray(_first_samples(element, full))):
        return pixels
    notes.append(
        "PhotometricInterpretation is YBR_FULL_422, but each pixel has its own color; by the gray pixels, "
        "colors are read as RGB or YBR_FULL."
    )
    return full


def _unlike_gray(
    file: Path, element: Element, pixels: PixelFormat, length: int, notes: list[str]
) -> PixelFormat:
    """What is called one image of 8-bit gray values, but holds as many bytes as one of another type."""
    size = pixels.frame_bits // 8
    if length - length % 2 == 2 * size - 2 * size % 2 and are_wider(_bytes(element, 2 * size)):
        raise ScanError(
            f"{file} contradicts itself: BitsAllocated is 8, but its pixels have 16 bits; export it again."
        )
    if length - length % 2 == 3 * size - 3 * size % 2 and are_colors(_bytes(element, 3 * size)):
        return with_samples(pixels, 3, notes)
    return pixels


def _first_samples(element: Element, pixels: PixelFormat) -> npt.NDArray[np.uint8]:
    return _bytes(element, pixels.frame_bits // 8)


def _bytes(element: Element, count: int) -> npt.NDArray[np.uint8]:
    with element.open() as stream:
        stream.seek(element.start)
        return np.frombuffer(stream.read(count), np.uint8)


def _count(
    file: Path,
    element: Element,
    pixels: PixelFormat,
    declared: int | None,
    length: int,
    cut: bool,
    notes: list[str],
) -> int:
    """The number of whole frames in uncompressed data."""
    bits = pixels.frame_bits
    whole = length * 8 // bits
    frames = declared or 1
    size = f"{frames} frame{'s' * (frames > 1)} of {pixels.columns} × {pixels.rows} pixels"
    if whole < frames:
        needed = -(-frames * bits // 8)
        # A header of another type, of more samples or of wider ones, asks for such a multiple of the data.
        other_type = any(length * parts in (needed, needed * 2) for parts in (2, 3))
        if not whole or (not cut and (other_type or length * 8 != whole * bits)):
            raise ScanError(
                f"{file} is cut off or its header is wrong: its pixel data hold {length:,} bytes, but {size} "
                f"need{'s' * (frames == 1)} {needed:,}; copy or export it again."
            )
        notes.append(f"Only {whole} of {frames} frames are in the file; it may be cut off.")
        return whole
    excess = length - -(-frames * bits // 8)
    if excess <= 1:
        return frames
    if pixels.samples == 3 and whole == frames and excess - excess % 2 == frames * bits // 24:
        raise ScanError(
            f"{file} contradicts itself: SamplesPerPixel is 3, but by their length its pixels have 4; export "
            "it again as RGB."
        )
    rest = length * 8 - whole * bits
    if whole > frames and (
        declared is None or (rest < 16 and not _is_zero(element, length - excess, length))
    ):
        problem = "is missing or invalid" if declared is None else f"is {declared}"
        notes.append(
            f"NumberOfFrames {problem}, but the pixel data hold {whole} frames; all are read."
        )
        frames = whole
        excess = rest // 8
    if excess > 1 and not _is_zero(element, length - excess, length):
        notes.append(
            f"The pixel data are {excess:,} bytes longer than their frames; these are ignored."
        )
    return frames


def _is_zero(element: Element, start: int, end: int) -> bool:
    with element.open() as stream:
        stream.seek(element.start + start)
        while start < end:
            part = stream.read(min(end - start, 1 << 20))
            if not part or part.strip(b"\0"):
                return False
            start += len(part)
    return True


def _compressed(
    file: Path,
    element: Element,
    syntax: UID,
    pixels: PixelFormat,
    declared: int | None,
    notes: list[str],
) -> Frames:
    with element.open() as stream:
        groups, cut = find_fragments(stream, element, declared)
    if not groups:
        raise ScanError(f"{file} is cut off in its first frame; copy or export it again.")
    count, expected = len(groups), declared or 1
    if count < expected:
        notes.append(f"Only {count} of {expected} frames are in the file; it may be cut off.")
    elif count > expected:
        problem = "is missing or invalid" if declared is None else f"is {declared}"
        notes.append(
            f"NumberOfFrames {problem}, but the pixel data hold {count} frames; all are read."
        )
    elif cut:
        notes.append("The file is cut off after its last frame.")

    def codestream(index: int) -> bytes:
        with element.open() as stream:
            parts = []
            for start, length in groups[index]:
                stream.seek(start)
                parts.append(stream.read(length))
        return without_boxes(b"".join(parts))

    first = codestream(0)
    markers = read_codestream(first)
    syntax = _actual_syntax(file, syntax, markers, notes)
    decoder = get_decoder(syntax)
    pixels = _as_compressed(file, pixels, syntax, first, notes)
    options = _options(pixels, 1) | {"correct_unused_bits": False}
    if pixels.samples == 3:
        # The stored values do not depend on it, but pydicom warns if it contradicts the markers.
        options["photometric_interpretation"] = "RGB" if markers.named_rgb else "YBR_FULL"
    incomplete = _incomplete(element, groups) if first[:1] == b"\xff" else []
    if incomplete:
        some = f"frame {incomplete[0]}" if len(incomplete) == 1 else f"{len(incomplete)} frames"
        some = some if count > 1 else "the image"
        notes.append(f"The compressed data of {some} have no end; they may be cut off.")
    # An encoder of JPEG 2000 may write no ends; decoders of JPEG-LS run for minutes without.
    is_habit = len(incomplete) == count and not first.startswith(b"\xff\xd8")
    refused = set() if is_habit else set(incomplete)

    def decode(index: int) -> Stored:
        if index in refused:
            raise ValueError("their compressed data are cut off")
        frame_data = codestream(index)
        if frame_data.startswith(b"\xff\xd8") and not is_sound(frame_data):
            raise ValueError("their compressed data are damaged")
        frame_markers = read_codestream(frame_data)
        if _shape(frame_markers) != _shape(markers):  # which decoders do not check
            raise ValueError(
                "their compressed data have another size or type than those of the first frame"
            )
        data = encapsulate([frame_data], has_bot=False)
        try:
            frame, _ = decoder.as_array(data, index=0, raw=True, validate=False, **options)
        except BaseException as error:
            # What a decoder written in Rust raises on damaged data is no Exception.
            if type(error).__name__ == "PanicException":
                raise ValueError("their compressed data are damaged") from error
            raise
        return np.asarray(frame)

    return Frames(pixels, count, decode, syntax == RLELossless, markers.color)


def _actual_syntax(file: Path, stated: UID, markers: Codestream, notes: list[str]) -> UID:
    """The transfer syntax of the pixels: as stated, unless the codestream is of another kind.

    Raises:
        ScanError: They are compressed, but neither the header nor the codestream says how.
    """
    syntax = markers.syntax
    if syntax is None and not stated.is_encapsulated:
        raise ScanError(
            f"The pixels of {file} are compressed, but its header does not say how (TransferSyntaxUID); "
            "export it again."
        )
    if syntax is None or any({stated, syntax} <= kind for kind in _ALIKE):
        return stated
    actual = UID(syntax)
    notes.append(f"The header says {stated.name}, but the pixels are compressed as {actual.name}.")
    check_decodable(file, actual)
    return actual


def _as_compressed(
    file: Path, pixels: PixelFormat, syntax: UID, first: bytes, notes: list[str]
) -> PixelFormat:
    """The format as the codestream of the first frame states it."""
    markers = read_codestream(first)
    components = markers.components
    if syntax == RLELossless and pixels.allocated >= 8:  # a segment for each byte of a pixel
        components = int.from_bytes(first[:4], "little") * 8 // pixels.allocated
    pixels = with_samples(pixels, components if components in (1, 3) else pixels.samples, notes)
    stated, size = (pixels.columns, pixels.rows), (markers.columns, markers.rows)
    if markers.rows and markers.columns and size != stated:
        notes.append(
            f"The header says {stated[0]} × {stated[1]} pixels, but {size[0]} × {size[1]} are compressed; "
            "these are read."
        )
        pixels = replace(pixels, rows=markers.rows, columns=markers.columns)
        check_size(file, pixels.rows, pixels.columns)
    bits = markers.precision
    if bits is None:
        return pixels
    if bits > 32:
        raise ScanError(f"The compressed pixels of {file} are damaged; copy or export it again.")
    allocated = next(width for width in (8, 16, 32) if bits <= width)
    return replace(pixels, allocated=allocated, stored=bits, high=bits - 1)


def _shape(markers: Codestream) -> tuple[int | None, ...]:
    return markers.rows, markers.columns, markers.components, markers.precision


def _incomplete(element: Element, groups: list[list[Fragment]]) -> list[int]:
    """The frames of JPEG, JPEG-LS or JPEG 2000 that do not end with the marker EOI or EOC."""
    indices = []
    with element.open() as stream:
        for index, group in enumerate(groups):
            start, length = next((f for f in reversed(group) if f[1]), group[-1])
            end = min(64, length)
            stream.seek(start + length - end)
            if b"\xff\xd9" not in stream.read(end):  # padding may follow
                indices.append(index)
    return indices
