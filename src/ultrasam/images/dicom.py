"""Read DICOM: parse the header, find the frames, and show them as gray or RGB, one frame at a time.

The header can be wrong. What decides is the data; what contradicts them is mended if clear and told in the
notes of the scan, else refused. No element that is not needed for the picture can cost it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ultrasam.errors import ScanError, UltraSamError, one_line
from ultrasam.extras import needs
from ultrasam.images.dicom_codecs import check_decodable, register
from ultrasam.images.dicom_colors import color_kind
from ultrasam.images.dicom_file import UNCOMPRESSED, DicomFile, Element, find_element, parse
from ultrasam.images.dicom_format import read_format, read_num_frames
from ultrasam.images.dicom_frames import Frames, find_frames
from ultrasam.images.dicom_geometry import read_frame_time, read_regions, read_spacing
from ultrasam.images.dicom_gray import GrayPixels, without_unused_bits
from ultrasam.images.dicom_header import MalformedError, strings, uid, whole_number
from ultrasam.images.dicom_tables import read_palette
from ultrasam.images.pixels import Frame, GrayScale
from ultrasam.images.scan import Scan, check_size
from ultrasam.text import decode_text

with needs("Reading DICOM", extra="dicom"):
    from pydicom.pixels.processing import convert_color_space

register()

Stored = npt.NDArray[Any]

_NO_PICTURES = (  # objects whose pixels are labels or measurements
    "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7", "1.2.840.10008.5.1.4.1.1.481.2",
    "1.2.840.10008.5.1.4.1.1.30",
)  # fmt: skip


def read_dicom(file: Path) -> Scan:
    """Open a single- or multi-frame DICOM image.

    Modality and VOI transforms are applied, MONOCHROME1 is inverted, YBR and palettes become RGB. What is odd
    about the file is in the scan's notes.

    Raises:
        ScanError: The file is not DICOM, holds no pixels, is damaged, contradicts itself, or uses an
            unsupported compression.
        MissingDependencyError: The decoder of its compression is not installed.
    """
    try:
        return _read(file)
    except UltraSamError:
        raise
    except MalformedError as error:
        raise ScanError(f"{file} cannot be read: {error}; export it again.") from error
    except Exception as error:
        # What pydicom says of damaged elements names positions in the file, and helps no user.
        raise ScanError(f"{file} is not DICOM, or is damaged; copy or export it again.") from error


def _read(file: Path) -> Scan:
    parsed = parse(file)
    dataset, notes = parsed.dataset, list[str]()
    element = _find_pixels(file, parsed)
    if parsed.syntax not in UNCOMPRESSED:
        check_decodable(file, parsed.syntax)
    rows, columns = (whole_number(dataset, name) or 0 for name in ("Rows", "Columns"))
    declared = read_num_frames(dataset, notes)
    check_size(file, rows, columns, declared or 1)
    pixels = read_format(file, dataset, element.keyword, notes)
    frames = find_frames(file, element, parsed.syntax, pixels, declared, notes)
    rows, columns = frames.format.rows, frames.format.columns
    check_size(file, rows, columns, frames.count)
    spacing = read_spacing(dataset, frames.count, notes)
    regions = read_regions(dataset, rows, columns, notes)
    frame_time = read_frame_time(dataset, frames.count, notes)
    read = _named(file, _shown(file, parsed, frames, notes))
    kind = uid(dataset, "SOPClassUID")
    if kind in _NO_PICTURES:
        notes.append(
            f"Its pixels are labels or measurements, not a picture (DICOM object: {kind.name})."
        )
    is_rgb = frames.format.samples == 3 or frames.format.kind == "PALETTE COLOR"
    patient = dataset.get_item("PatientID")
    patient_id = decode_text(patient.value) if patient and isinstance(patient.value, bytes) else ""
    subject = " ".join(patient_id.replace("\0", " ").split()) or None
    return Scan(
        frames.count, rows, columns, is_rgb, read, spacing, file, subject, frame_time, tuple(notes),
        regions,
    )  # fmt: skip


def _find_pixels(file: Path, parsed: DicomFile) -> Element:
    dataset = parsed.dataset
    element = find_element(parsed.open, parsed.position)
    if element is not None and element.available:
        return element
    if strings(dataset, "Rows") or element is not None:
        raise ScanError(
            f"{file} holds no pixels, or is cut off before them; copy or export it again."
        )
    name = uid(dataset, "SOPClassUID").name or "unknown kind"
    # With a damaged length field, the name may contain any data that follows it, such as the subject's name.
    if not name.isprintable() or len(name) > 100:
        name = "unknown kind"
    raise ScanError(f"{file} holds no image (DICOM object: {name}); give an image object.")


def _named(file: Path, read: Callable[[int], Frame]) -> Callable[[int], Frame]:
    """The same function, with errors that name the file."""

    def named(index: int) -> Frame:
        try:
            return read(index)
        except ScanError as error:
            text = str(error)
            raise ScanError(text if str(file) in text else f"{file}: {text}") from error

    return named


def _shown(
    file: Path, parsed: DicomFile, frames: Frames, notes: list[str]
) -> Callable[[int], Frame]:
    """A function that reads a frame as it is to be seen."""

    def decoded(index: int) -> Stored:
        try:
            return first if index == 0 and first is not None else frames.decode(index)
        except Exception as error:
            where = f"frame {index} of {file}" if index else str(file)
            reason = one_line(error)
            if (
                "all available plugins" in reason
            ):  # what each says follows, in words for programmers
                reason = f"their compressed data ({parsed.syntax.name}) are damaged"
            raise ScanError(
                f"Cannot decode the pixels of {where}: {reason}; copy the file again or export it "
                "with another transfer syntax."
            ) from error

    first = None
    first = decoded(0)
    pixels, dataset = frames.format, parsed.dataset
    if pixels.samples == 3:
        return _colors(file, frames, decoded, notes)

    def stored(index: int) -> Stored:
        values = decoded(index)
        return without_unused_bits(values, dataset, pixels) if frames.has_unused_bits else values

    if pixels.kind == "PALETTE COLOR":
        palette = read_palette(dataset, signed=pixels.signed)
        return lambda index: palette(stored(index))
    return GrayPixels(dataset, pixels, frames.count, stored, notes).frame


def _colors(
    file: Path, frames: Frames, decoded: Callable[[int], Stored], notes: list[str]
) -> Callable[[int], Frame]:
    first = decoded(0)
    kind = color_kind(first, frames.format.kind, notes, marked=frames.color)
    if first.dtype != np.uint8 and kind != "RGB":
        raise ScanError(
            f"{file} has {frames.format.kind} colors of {frames.format.allocated} bits, which are not "
            "supported; export it as RGB."
        )

    def rgb(index: int) -> Stored:
        samples = decoded(index)
        return convert_color_space(samples, "YBR_FULL", "RGB") if kind == "YBR_FULL" else samples

    @lru_cache(maxsize=1)
    def scale() -> GrayScale:
        rows = max(1, frames.count // 4)  # of many frames, fewer rows
        values = [rgb(index)[::rows] for index in range(frames.count)]
        return GrayScale.of(*values)

    def read(index: int) -> Frame:
        samples = rgb(index)
        return samples if samples.dtype == np.uint8 else scale()(samples)

    return read
