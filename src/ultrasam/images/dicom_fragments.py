"""Which fragments of compressed pixel data make up which frame (PS3.5 A.4)."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from ultrasam.images.dicom_file import Element

_ITEM, _DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"

Fragment = tuple[int, int]  # position, bytes


def find_fragments(
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
