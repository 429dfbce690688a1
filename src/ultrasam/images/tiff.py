"""The pages of a TIFF file: what their pixels are, and which library reads them correctly.

Pillow keeps the upper 8 bits of 16-bit colors, takes int8 for uint8, and does not know further kinds; OpenCV
reads these, but not all that Pillow reads. Source: TIFF 6.0, sections 8 and 19.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, Any

from PIL.TiffImagePlugin import ImageFileDirectory_v2

from ultrasam.images.radiofrequency import B_MODE

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BIG = b"\x2b"  # BigTIFF, whose header has 16 bytes
_MOST_PAGES = 200_000

_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3  # SampleFormat; 5 and 6 are complex
_KINDS = {_UNSIGNED: "unsigned integers", _SIGNED: "signed integers", _FLOAT: "floats"}
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _CMYK = 0, 1, 2, 5  # PhotometricInterpretation
_ALPHA = (1, 2)  # ExtraSamples
_SEPARATE = 2  # PlanarConfiguration


@dataclass(frozen=True, slots=True)
class TiffPage:
    """What a page says of its pixels.

    Attributes:
        height, width: in pixels, before its orientation is applied.
        samples: numbers per pixel.
        bits: of each number.
        kind: SampleFormat: 1 unsigned, 2 signed, 3 float, 5 and 6 complex.
        photometric: what the numbers mean: 0 and 1 gray, 2 RGB.
        is_separate: each color has a plane of its own.
        has_alpha: the last sample is the opacity.
        description: the text of the writing program.
    """

    height: int
    width: int
    samples: int
    bits: int
    kind: int
    photometric: int
    is_separate: bool
    has_alpha: bool
    description: str

    @property
    def zero_is_white(self) -> bool:
        return self.photometric == _WHITE_IS_ZERO

    @property
    def is_for_opencv(self) -> bool:
        """Whether OpenCV reads the page, as Pillow reads it wrongly or not at all."""
        if self.samples == 1:
            return (self.kind, self.bits) in (
                (_UNSIGNED, 10), (_UNSIGNED, 14), (_UNSIGNED, 32), (_UNSIGNED, 64),
                (_SIGNED, 8), (_SIGNED, 64), (_FLOAT, 64),
            )  # fmt: skip
        return self.bits > 8 or self.kind != _UNSIGNED

    @property
    def unsupported(self) -> str | None:
        """Why the page cannot be read, as the end of a sentence; None if it can."""
        if self.kind not in _KINDS:
            return f"its values are complex numbers, as in IQ data; {B_MODE}"
        if self.samples == 2 and not (self.has_alpha and self.bits == 8 and self.kind == _UNSIGNED):
            return "it has 2 channels; save one of them as a gray image"
        if self.samples > 4:
            return (
                f"it has {self.samples} channels; save one of them as a gray image, or three as RGB"
            )
        number = f"{self.bits}-bit {_KINDS[self.kind]}"
        if self.kind == _FLOAT and self.bits not in (32, 64):
            return f"its pixels are {number}; save it with 32-bit floats or 8 bits"
        if self.samples == 1 or not self.is_for_opencv:
            return None
        if self.photometric != _RGB:
            return f"its {self.samples} channels of {number} are no RGB; save it as gray or RGB"
        if self.is_separate:
            return f"its colors are stored as separate planes of {number}; save it with interleaved colors"
        return None


def read_pages(opened: IO[bytes]) -> list[TiffPage]:
    """Read the directories of a TIFF file.

    Raises:
        Exception: Of any class, as Pillow parses them; the file is damaged.
    """
    opened.seek(0)
    header = opened.read(8)
    if _BIG in header[2:4]:
        header += opened.read(8)
    directory = ImageFileDirectory_v2(header)
    pages: list[TiffPage] = []
    seen: set[int] = set()
    while directory.next and directory.next not in seen and len(pages) < _MOST_PAGES:
        seen.add(directory.next)
        opened.seek(directory.next)
        directory.load(opened)
        pages.append(_page(directory))
    return pages


def _page(tags: Any) -> TiffPage:
    bits = tags.get(258, (1,))
    extra = tags.get(338, ())
    return TiffPage(
        height=int(tags[257]),
        width=int(tags[256]),
        samples=int(tags.get(277, 1)),
        bits=max(bits) if isinstance(bits, tuple) else int(bits),
        kind=_kind(tags.get(339, (_UNSIGNED,))),
        photometric=int(tags.get(262, _BLACK_IS_ZERO)),
        is_separate=int(tags.get(284, 1)) == _SEPARATE,
        has_alpha=bool(extra) and extra[-1] in _ALPHA,
        description=str(tags.get(270, "")),
    )


def _kind(formats: Any) -> int:
    kind = max(formats) if isinstance(formats, tuple) else int(formats)
    return _UNSIGNED if kind == 4 else kind  # 4: undefined
