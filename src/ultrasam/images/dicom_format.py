"""What a DICOM header says about its pixels: type, color model and number; checked and, if clear, mended."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ultrasam.errors import ScanError
from ultrasam.extras import needs
from ultrasam.images.dicom_header import MalformedError, strings, whole_number

with needs("Reading DICOM", extra="dicom"):
    from pydicom.dataset import Dataset

# PS3.3 C.7.6.3.1.2; decoders return RGB for the last two.
_GRAY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
COLOR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_ELEMENTS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """The pixels of every frame.

    Attributes:
        rows, columns: size in pixels.
        samples: 1, or 3 for colors.
        kind: photometric interpretation.
        planar: colors are stored as planes.
        allocated: bits from one sample to the next.
        stored: bits that hold a sample.
        high: number of the highest of these bits, from 0.
        signed: samples are two's complement.
        keyword: the element that holds the pixels.
    """

    rows: int
    columns: int
    samples: int
    kind: str
    planar: bool = False
    allocated: int = 8
    stored: int = 8
    high: int = 7
    signed: bool = False
    keyword: str = "PixelData"

    @property
    def frame_bits(self) -> int:
        """Bits of one uncompressed frame."""
        bits = self.rows * self.columns * self.samples * self.allocated
        return bits * 2 // 3 if self.kind == "YBR_FULL_422" else bits


def read_format(file: Path, dataset: Dataset, keyword: str, notes: list[str]) -> PixelFormat:
    """The format of the pixels in the element `keyword`; what is missing or invalid is told in `notes`.

    Raises:
        ScanError: The format is not supported.
    """

    def element(name: str, default: int, valid: range, *, optional: bool = False) -> int:
        try:
            value = whole_number(dataset, name)
        except MalformedError as error:
            notes.append(f"{error}; {default} is used.")
            return default
        if value is None and optional:
            return default
        if value is None or value not in valid:
            found = f"is {value}" if value is not None else "is missing"
            notes.append(f"{name} {found}; {default} is used.")
            return default
        return value

    kind = " ".join(strings(dataset, "PhotometricInterpretation")[:1]).upper()
    samples = element("SamplesPerPixel", 3 if kind in COLOR else 1, range(1, 5))
    if not kind:
        kind = "RGB" if samples == 3 else "MONOCHROME2"
        notes.append(f"PhotometricInterpretation is missing; {kind} is used.")
    if kind not in (*_GRAY, *COLOR):
        raise ScanError(
            f"{file} has colors of the kind '{kind[:40]}', which is not supported; export it as RGB or "
            "grayscale."
        )
    if samples not in (1, 3):
        raise ScanError(f"{file} has {samples} samples per pixel; export it as RGB or grayscale.")
    if keyword in _ELEMENTS:
        bits = _ELEMENTS[keyword]
        allocated, stored, high, signed = bits, bits, bits - 1, False
    else:
        allocated = element("BitsAllocated", 8, range(1, 65))
        if allocated not in (1, 8, 16, 32, 64):
            raise ScanError(
                f"{file} has {allocated} bits per pixel, which is not supported; export it with 8 or 16."
            )
        allocated = max(allocated, _needed(dataset, allocated, notes))
        stored = element("BitsStored", allocated, range(1, allocated + 1))
        high = element("HighBit", stored - 1, range(stored - 1, allocated))
        signed = element("PixelRepresentation", 0, range(2)) == 1
    planar = element("PlanarConfiguration", 0, range(2), optional=samples == 1) == 1
    rows, columns = (whole_number(dataset, name) or 0 for name in ("Rows", "Columns"))
    return PixelFormat(
        rows, columns, samples, kind, planar, allocated, stored, high, signed, keyword
    )


def _needed(dataset: Dataset, allocated: int, notes: list[str]) -> int:
    """Bits that a sample takes by BitsStored, if that is more than BitsAllocated."""
    try:
        stored = whole_number(dataset, "BitsStored") or 0
    except MalformedError:
        return allocated
    if not allocated < stored <= 32:
        return allocated
    needed = next(bits for bits in (8, 16, 32) if stored <= bits)
    notes.append(f"BitsAllocated is {allocated}, but BitsStored {stored}; {needed} is used.")
    return needed


def with_samples(pixels: PixelFormat, samples: int, notes: list[str]) -> PixelFormat:
    """The format with the number of samples that the pixels have, and a kind that suits it."""
    is_color = pixels.kind in COLOR
    if samples == pixels.samples and is_color == (samples == 3):
        return pixels
    if is_color == (samples == 3):
        notes.append(f"SamplesPerPixel is {pixels.samples}, but pixels have {samples}.")
        return replace(pixels, samples=samples)
    found, kind = ("3 samples", "RGB") if samples == 3 else ("1 sample", "MONOCHROME2")
    notes.append(
        f"PhotometricInterpretation is {pixels.kind}, but pixels have {found}; {kind} is used."
    )
    return replace(pixels, samples=samples, kind=kind)


def read_num_frames(dataset: Dataset, notes: list[str]) -> int | None:
    """NumberOfFrames, or None if it is missing or invalid."""
    try:
        value = whole_number(dataset, "NumberOfFrames")
    except MalformedError as error:
        notes.append(f"{error}; frames are counted.")
        return None
    if value is not None and value < 1:
        notes.append(f"NumberOfFrames is {value}; frames are counted.")
        return None
    return value
