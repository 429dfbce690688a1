"""What the first bytes of a compressed frame state about its pixels, whatever the DICOM header says."""

from __future__ import annotations

from dataclasses import dataclass

_FRAME_MARKERS = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), 0xF7)  # SOF, JPEG-LS
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
    start = data.find(b"\xff\x4f\xff\x51", 0, 4096)
    if start < 0 or len(data) < start + 43:
        return Codestream()
    # ITU-T T.800, A.5.1: SIZ
    x1, y1, x0, y0 = (
        int.from_bytes(data[start + i : start + i + 4], "big") for i in (8, 12, 16, 20)
    )
    components = int.from_bytes(data[start + 40 : start + 42], "big")
    precision = (data[start + 42] & 0x7F) + 1
    # Bit 14 of the capabilities stands for high throughput (ITU-T T.814, A.2).
    is_plain = not data[start + 6] & 0x40
    return Codestream(y1 - y0, x1 - x0, components, precision, _JPEG_2000 if is_plain else None)


def _jpeg(data: bytes) -> Codestream:
    """Colors follow from the names of the components, Adobe's and JFIF's markers, and coarser chroma.

    The rules are those of ITU-T T.871 and T.872, 6.5.3.
    """
    color = None
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        segment = data[position + 4 : position + 2 + length]
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
            # A height of 0 is stated behind the first scan.
            return Codestream(
                rows or None,
                columns or None,
                segment[5],
                segment[0],
                _SYNTAXES.get(marker),
                color,
                is_rgb,
            )
        elif marker == 0xDA:
            break
        position += 2 + length
    return Codestream()
