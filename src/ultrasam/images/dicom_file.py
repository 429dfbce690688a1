"""Parse a DICOM file up to its pixels.

Byte order and type of encoding are taken from the data, because headers state them wrongly. Elements keep
their bytes until `dicom_header` converts them.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from ultrasam.errors import ScanError
from ultrasam.extras import needs
from ultrasam.images.dicom_header import uid

with needs("Reading DICOM", extra="dicom"):
    from pydicom.dataset import Dataset
    from pydicom.filereader import data_element_generator
    from pydicom.tag import BaseTag
    from pydicom.uid import (
        UID,
        DeflatedExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
    )

UNCOMPRESSED = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)

_CHARACTER_SET = 0x00080005
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_KEYWORDS = {
    b"\xe0\x7f\x10\x00": "PixelData",
    b"\xe0\x7f\x08\x00": "FloatPixelData",
    b"\xe0\x7f\x09\x00": "DoubleFloatPixelData",
    b"\x7f\xe0\x00\x10": "PixelData",
    b"\x7f\xe0\x00\x08": "FloatPixelData",
    b"\x7f\xe0\x00\x09": "DoubleFloatPixelData",
}
_UNDEFINED = 0xFFFFFFFF
_DEFERRED = 1 << 24  # bytes; larger elements, such as private raw data, are not loaded
_MAX_INFLATED = 1 << 31  # bytes; more than any scan, so that a small file cannot fill the memory


@dataclass(frozen=True, slots=True)
class DicomFile:
    """A parsed file.

    Attributes:
        dataset: all elements before the pixels.
        syntax: the transfer syntax: what the file states, else what it looks like.
        position: where the element of the pixels begins, if there is one.
        open: opens the file, or what was inflated from it.
    """

    dataset: Dataset
    syntax: UID
    position: int
    open: Callable[[], BinaryIO]


def parse(file: Path) -> DicomFile:
    """Parse a file with or without a preamble and file meta information.

    Raises:
        ScanError: The file is deflated but damaged, or inflates to an implausible size.
        Exception: whatever pydicom raises for damaged elements.
    """

    def open_file() -> BinaryIO:
        return file.open("rb")

    with open_file() as stream:
        start = 132 if stream.read(132)[128:] == b"DICM" else 0
        stream.seek(start)
        meta, start = _elements(stream, lambda tag: tag >> 16 != 2)
        stated = uid(meta, "TransferSyntaxUID")
        if stated != DeflatedExplicitVRLittleEndian:
            return _parse_from(stream, start, stated, open_file)
        stream.seek(start)
        inflated = _inflate(file, stream)

    def open_inflated() -> BinaryIO:
        return io.BytesIO(inflated)

    return _parse_from(open_inflated(), 0, ExplicitVRLittleEndian, open_inflated)


def _parse_from(
    stream: BinaryIO, start: int, stated: UID, open_file: Callable[[], BinaryIO]
) -> DicomFile:
    stream.seek(start)
    explicit, little = _encoding(stream)
    dataset, position = _elements(stream, lambda tag: tag in _PIXELS)
    syntax = stated
    if not stated:
        plain = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        syntax = plain if explicit else ImplicitVRLittleEndian
    return DicomFile(dataset, syntax, position, open_file)


def _elements(stream: BinaryIO, stop: Callable[[int], bool]) -> tuple[Dataset, int]:
    """The elements from here to the first that `stop` finds, and its position."""
    explicit, little = _encoding(stream)
    found: dict[BaseTag, Any] = {}
    while True:
        elements = data_element_generator(
            stream,
            not explicit,
            little,
            defer_size=_DEFERRED,
            stop_when=lambda tag, vr, length: tag == _CHARACTER_SET or stop(int(tag)),
        )
        found |= {element.tag: element for element in elements}
        position = stream.tell()
        if not _skip_character_set(stream, explicit=explicit, little=little):
            return Dataset(found), position


def _skip_character_set(stream: BinaryIO, *, explicit: bool, little: bool) -> bool:
    """Skip the next element if it names the character set: pydicom warns of names that it does not know."""
    head = stream.read(8)
    order: Literal["little", "big"] = "little" if little else "big"
    tag = int.from_bytes(head[:2], order) << 16 | int.from_bytes(head[2:4], order)
    if len(head) < 8 or tag != _CHARACTER_SET:
        stream.seek(-len(head), io.SEEK_CUR)
        return False
    stream.seek(int.from_bytes(head[6:] if explicit else head[4:], order), io.SEEK_CUR)
    return True


def _encoding(stream: BinaryIO) -> tuple[bool, bool]:
    """Whether elements state their types, and whether they are little-endian, by the next element's head."""
    head = stream.read(6)
    stream.seek(-len(head), io.SEEK_CUR)
    # A type is two capitals; as the low half of a length, they would mean an element of over 16 KiB.
    explicit = len(head) == 6 and head[4:].isalpha() and head[4:].isupper()
    # The first group is 2 or 8, which in the other byte order is 512 or 2048.
    little = not (head[:1] == b"\0" and head[1:2] not in (b"\0", b""))
    return explicit, little


def _inflate(file: Path, stream: BinaryIO) -> bytes:
    deflated = stream.read()
    for bits in (
        -zlib.MAX_WBITS,
        zlib.MAX_WBITS,
    ):  # as the standard demands; with zlib's own header
        inflater = zlib.decompressobj(bits)
        try:
            data = inflater.decompress(deflated, _MAX_INFLATED)
        except zlib.error:
            continue
        if inflater.unconsumed_tail:
            raise ScanError(
                f"{file} inflates to more than {_MAX_INFLATED >> 30} GiB, more than any scan has; it is "
                "damaged or malicious."
            )
        return data
    raise ScanError(f"{file} cannot be inflated; it is damaged: copy or export it again.")


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
