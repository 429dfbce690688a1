"""Where the chunks of an AVI or the boxes of an MP4 end before the file's index says so.

FFmpeg passes over a broken place and goes on with the next packet that it finds, so later frames would
be counted wrongly, or ends there without a word.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ultrasam.errors import ScanError


@dataclass(frozen=True, slots=True)
class ContainerEnd:
    """How a container ends.

    Attributes:
        is_cut: data that the container declares are missing.
        in_video: it ends within a video packet, or may do so.
        packets: the number of video packets before a place where the chunks are broken, though the file goes
            on; None if there is no such place.
        is_fragmented: an MP4 of which each fragment has its own index.
    """

    is_cut: bool
    in_video: bool = False
    packets: int | None = None
    is_fragmented: bool = False


def find_end(file: Path) -> ContainerEnd:
    """Follow an AVI's chunks or an MP4's boxes to their end.

    Raises:
        ScanError: A fragmented MP4 is broken before its end, so that its frames cannot be told apart.
    """
    size = file.stat().st_size
    with file.open("rb") as opened:
        is_avi = opened.read(4) == b"RIFF"
        return _end_of_avi(opened, size) if is_avi else _end_of_mp4(opened, size, file)


def is_avi(file: Path) -> bool:
    """Whether a video is an AVI."""
    with file.open("rb") as opened:
        return opened.read(4) == b"RIFF"


def _end_of_avi(opened: IO[bytes], size: int) -> ContainerEnd:
    place, end, packets = 0, 0, 0
    while place < size:
        opened.seek(place)
        head = opened.read(8)
        name, length = head[:4], int.from_bytes(head[4:], "little")
        if name == b"RIFF":
            end = place + 8 + length
        elif place >= end > 8:
            return ContainerEnd(is_cut=False)  # bytes after the last chunk
        if name in (b"RIFF", b"LIST"):
            place += 12
            continue
        if len(head) < 8:
            return ContainerEnd(is_cut=True)
        if not _is_name(name):
            return ContainerEnd(is_cut=True, in_video=True, packets=packets)
        is_video = name[2:] in (b"dc", b"db")
        if place + 8 + length > size:
            return ContainerEnd(is_cut=True, in_video=is_video)
        packets += is_video and length > 0
        place += 8 + length + length % 2
    return ContainerEnd(is_cut=end > size)


def _end_of_mp4(opened: IO[bytes], size: int, file: Path) -> ContainerEnd:
    place, is_fragmented = 0, False
    while place < size:
        opened.seek(place)
        head = opened.read(16)
        length, name = int.from_bytes(head[:4], "big"), head[4:8]
        is_fragmented = is_fragmented or name == b"moof"
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        if length == 0 and name != bytes(4):
            break  # the last box, of any length
        if len(head) < 8 or length < 8 or not _is_name(name):
            opened.seek(place)
            if is_fragmented and opened.read(1 << 24).strip(b"\0"):
                raise ScanError(f"{file} is damaged in its middle; copy or download it again.")
            return ContainerEnd(is_cut=True, is_fragmented=is_fragmented)
        if place + length > size:
            return ContainerEnd(True, name == b"mdat", is_fragmented=is_fragmented)
        place += length
    return ContainerEnd(is_cut=False, is_fragmented=is_fragmented)


def _is_name(name: bytes) -> bool:
    return all(32 <= code < 127 or code == 0xA9 for code in name)
