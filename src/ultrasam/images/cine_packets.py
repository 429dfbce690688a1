"""What the packets of a video tell without decoding: the times of its frames, and which ones are damaged.

A decoder fills the missing part of a damaged frame with whatever is at hand, and OpenCV does not pass on that
it did. Damage is therefore looked for in the packets: the one at which the file was cut off, and those that
hold what no encoder writes, as an incomplete copy leaves it. Bit errors that keep a packet's form are not
found.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from ultrasam.errors import ScanError
from ultrasam.images.cine_containers import find_end, is_avi
from ultrasam.images.quiet import quiet_opencv

_RAW_PACKETS = [cv2.CAP_PROP_FORMAT, -1]
_ATTEMPTS = 8  # a damaged packet fails once; past the end, every attempt fails

_JPEG = ("MJPG", "JPEG")
_H26X = ("H264", "X264", "AVC1", "AVC3", "HEVC", "HVC1", "HEV1", "X265")
_MPEG4 = ("FMP4", "MP4V", "XVID", "DIVX", "DX50")
_ZEROS = bytes(16)  # H.26x and MPEG-4 never write as many: zeros mark where a unit begins


@dataclass(frozen=True, slots=True)
class Packets:
    """The packets of a video stream, in the order of the file, which is the order of decoding.

    Attributes:
        times: times in ms; negative if an edit list removes the frame.
        keys: whether the frame is decoded without others.
        bad: whether the packet, or one just before it, is damaged.
        lost: the number of packets that the file declares but no longer holds.
    """

    times: tuple[float, ...]
    keys: tuple[bool, ...]
    bad: tuple[bool, ...]
    lost: int

    def shown(self) -> list[float]:
        """The times of the frames that are shown, in order."""
        return sorted(time for time in self.times if time >= 0)

    def damaged(self) -> frozenset[int]:
        """Indices of the frames whose packet, or one that it is decoded from, is damaged."""
        wrong = set()
        broken = broken_before = False
        key_time = 0.0
        for time, key, bad in zip(self.times, self.keys, self.bad, strict=True):
            if key:
                broken_before, broken, key_time = broken, False, time
            broken = broken or bad
            if broken or (broken_before and time < key_time):
                wrong.add(time)
        return frozenset(index for index, time in enumerate(self.shown()) if time in wrong)

    def damaged_in_order(self, reordered: int) -> frozenset[int]:
        """`damaged` of a file whose times are not those of display, with all that may be concerned.

        Args:
            reordered: how many places a frame may be shown before or after its place in the file.
        """
        wrong: set[int] = set()
        count = len(self.keys)
        for index in (index for index, bad in enumerate(self.bad) if bad):
            end = next((k for k in range(index + 1, count) if self.keys[k]), count)
            wrong.update(range(max(0, index - reordered), min(end + reordered, count)))
        return frozenset(wrong)


def open_video(file: Path, options: list[int] | None = None) -> Any:
    """Open a video in OpenCV's FFmpeg, as a `cv2.VideoCapture`.

    Raises:
        ScanError: The file has no video stream that can be decoded.
    """
    with quiet_opencv():
        video = cv2.VideoCapture(str(file), cv2.CAP_FFMPEG, options or [])
    if not video.isOpened():
        raise ScanError(
            f"{file} is damaged, or has no video stream that can be decoded; copy it again or convert it."
        )
    return video


def read_packets(file: Path) -> Packets:
    """Read the packets of a video's first stream.

    Raises:
        ScanError: The file has no frames, or cannot be opened.
    """
    video = open_video(file, _RAW_PACKETS)
    declared = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    tag = int(video.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
    codec = tag.to_bytes(4, "little").decode("latin-1").upper()
    times, keys, bad = [], [], []
    failures, skipped = 0, 0
    while failures < _ATTEMPTS:
        if not video.grab():
            failures += 1
            continue
        _, data = video.retrieve()
        times.append(float(video.get(cv2.CAP_PROP_POS_MSEC)))
        keys.append(bool(video.get(cv2.CAP_PROP_LRF_HAS_KEY_FRAME)))
        bad.append(failures > 0 or data is None or _is_damaged(data.tobytes(), codec))
        skipped, failures = skipped + failures, 0
    video.release()
    if codec in _JPEG and bad and all(bad):  # some encoders omit the end marker
        bad = [False] * len(bad)
    end = find_end(file)
    if end.packets is not None and end.packets < len(times):
        # What follows the broken place may be any later frame.
        count = end.packets
        times, keys, bad, skipped = times[:count], keys[:count], bad[:count], 0
    if not any(time >= 0 for time in times):
        raise ScanError(f"{file} has no frames; copy or download it again.")
    # Of MP4 with one index, FFmpeg passes on complete packets of H.26x only.
    if end.in_video and (codec not in _H26X or end.is_fragmented or is_avi(file)):
        bad[-1] = True
    lost = declared - len(times) - skipped if end.is_cut else 0
    return Packets(tuple(times), tuple(keys), tuple(bad), max(0, lost) + skipped)


def _is_damaged(data: bytes, codec: str) -> bool:
    if codec in _JPEG:
        return not data.rstrip(b"\0").endswith(b"\xff\xd9")
    return codec in _H26X + _MPEG4 and _ZEROS in data
