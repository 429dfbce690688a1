"""What the first bytes of a compressed frame state about its pixels, whatever the DICOM header says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_FRAME_MARKERS = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), 0xF7)  # SOF, JPEG-LS
_SCAN = 0xDA
_SOC = b"\xff\x4f\xff\x51"  # JPEG 2000's first two markers
_SYNTAXES = {  # the most general of each kind
    0xC0: "1.2.840.10008.1.2.4.50",  # JPEG Baseline
    0xC1: "1.2.840.10008.1.2.4.51",  # JPEG Extended
    0xC3: "1.2.840.10008.1.2.4.57",  # JPEG Lossless
    0xF7: "1.2.840.10008.1.2.4.81",  # JPEG-LS
}
_JPEG_2000 = "1.2.840.10008.1.2.4.91"


@dataclass(frozen=True, slots=True)
class Codestream:
    """The properties of a frame; what its codestream does not state is None.

    Attributes:
        rows, columns: size in pixels.
        components: samples per pixel.
        precision: bits of a sample.
        syntax: UID of a transfer syntax that decodes it.
        color: 'RGB' or 'YBR_FULL'.
        named_rgb: components are called R, G and B.
    """

    rows: int | None = None
    columns: int | None = None
    components: int | None = None
    precision: int | None = None
    syntax: str | None = None
    color: str | None = None
    named_rgb: bool = False


def read_codestream(data: bytes) -> Codestream:
    """Read the markers of JPEG, JPEG-LS or JPEG 2000; nothing is known of other codestreams."""
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    if not data.startswith(_SOC) or len(data) < 43:
        return Codestream()
    # ITU-T T.800, A.5.1: SIZ
    x1, y1, x0, y0 = (int.from_bytes(data[i : i + 4], "big") for i in (8, 12, 16, 20))
    components = int.from_bytes(data[40:42], "big")
    precision = (data[42] & 0x7F) + 1
    # Bit 14 of the capabilities stands for high throughput (ITU-T T.814, A.2).
    is_plain = not data[6] & 0x40
    return Codestream(y1 - y0, x1 - x0, components, precision, _JPEG_2000 if is_plain else None)


def without_boxes(data: bytes) -> bytes:
    """A JPEG 2000 codestream without the boxes of the file format JP2, which DICOM does not allow.

    pydicom never returns from boxes of length 0.
    """
    if data[4:8] != b"jP  ":
        return data
    start = data.find(_SOC)
    return data[start:] if start >= 0 else b""


def is_sound(data: bytes) -> bool:
    """Whether the markers of a JPEG or JPEG-LS codestream are valid up to the first scan.

    GDCM ends the process on some in which they are not.
    """
    segments = list(_segments(data))
    markers = [marker for marker, _ in segments]
    codes = {s[11] for m, s in segments if m == 0xEE and s.startswith(b"Adobe") and len(s) >= 12}
    is_whole = bool(markers) and markers[-1] == _SCAN
    return is_whole and codes <= {0, 1, 2} and any(m in _FRAME_MARKERS for m in markers)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The markers of a JPEG codestream and what belongs to them, up to the first scan."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker < 0xC0 or 0xD0 <= marker <= 0xD9 or not position + 4 <= end <= len(data):
            return
        yield marker, data[position + 4 : end]
        if marker == _SCAN:
            return
        position = end


def _jpeg(data: bytes) -> Codestream:
    """Colors follow from the names of the components, Adobe's and JFIF's markers, and coarser chroma.

    The rules are those of ITU-T T.871 and T.872, 6.5.3.
    """
    color = None
    for marker, segment in _segments(data):
        if marker == 0xE0 and segment.startswith(b"JFIF"):
            color = color or "YBR_FULL"
        elif marker == 0xEE and segment.startswith(b"Adobe") and len(segment) >= 12:
            color = {0: "RGB", 1: "YBR_FULL"}.get(segment[11], color)
        elif marker in _FRAME_MARKERS and len(segment) >= 6:
            rows, columns = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
            is_rgb = segment[6::3] in (b"RGB", b"rgb")
            if segment[5] != 3:
                color = None
            elif is_rgb:
                color = "RGB"
            elif len(set(segment[7::3])) > 1:
                color = color or "YBR_FULL"
            return Codestream(
                rows or None,  # a height of 0 is stated behind the first scan
                columns or None,
                segment[5],
                segment[0],
                _SYNTAXES.get(marker),
                color,
                is_rgb,
            )
    return Codestream()
