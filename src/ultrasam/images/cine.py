"""Read MP4 and AVI through OpenCV's FFmpeg, decoding from the nearest key frame.

OpenCV counts and seeks frames by the frame rate, which is wrong if frames are unevenly spaced. This reader
identifies each frame by its timestamp, taken from the file's packets without decoding. AVI with B-frames has
no times of display: its frames are counted from the start instead.
"""

from __future__ import annotations

from bisect import bisect_left
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import ref

import cv2
import numpy as np

from ultrasam.errors import ScanError, one_line
from ultrasam.images.cine_packets import open_video, read_packets
from ultrasam.images.pixels import Frame
from ultrasam.images.scan import Scan, check_size

_GRAY = (b"Y8", b"Y1")  # prefixes of the codes of FFmpeg's gray pixel formats
_SAME_TIME = 0.01  # ms; frames are at least 1 ms apart
_STEPS = 8  # up to this many frames ahead, decoding is cheaper than seeking
_LEAD = (
    8  # seek this many frames early: frames displayed before a key frame may follow it in the file
)
_MOST_REORDERED = 16  # H.264, A.3: at most as many frames wait to be shown
_MOST_OPEN = 16  # files that stay open for their next frame
_INTRA = ord("I")


def read_cine(file: Path) -> Scan:
    """Open a cine; frames are decoded on access, cheapest in order.

    Frames are turned as the container says, as players show them.

    Raises:
        ScanError: The file is damaged, truncated or too large, or has no video stream.
    """
    cine = _Cine(file)
    check_size(file, cine.height, cine.width, cine.num_frames)
    cine.check_readable()
    return Scan(
        cine.num_frames,
        cine.height,
        cine.width,
        cine.is_rgb,
        cine.read,
        source=file,
        frame_time=cine.frame_time,
        notes=cine.notes,
    )


class _Cine:
    """A video, the timestamps of its frames, and the decoder's position."""

    video: Any

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lock = Lock()
        self.packets = read_packets(file)
        self.times = self.packets.shown()
        keys = zip(self.packets.times, self.packets.keys, strict=True)
        self.keys = sorted(time for time, key in keys if key)
        self.next = 0
        video = self._restart()
        self.height = int(video.get(cv2.CAP_PROP_FRAME_HEIGHT))
        self.width = int(video.get(cv2.CAP_PROP_FRAME_WIDTH))
        code = int(video.get(cv2.CAP_PROP_CODEC_PIXEL_FORMAT)) & 0xFFFFFFFF
        self.is_rgb = not code.to_bytes(4, "little").startswith(_GRAY)
        rate = float(video.get(cv2.CAP_PROP_FPS))
        self.frame_time = 1000 / rate if rate > 0 else None
        self.delay = self._delay()
        self.damaged = (
            self.packets.damaged()
            if self.delay is None
            else self.packets.damaged_in_order(self.delay or _MOST_REORDERED)
        )
        self._restart()

    @property
    def num_frames(self) -> int:
        return len(self.times)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is damaged or missing, a sentence each."""
        notes = []
        if self.damaged:
            shown = ", ".join(map(str, sorted(self.damaged)[:5]))
            more = ", …" if len(self.damaged) > 5 else ""
            notes.append(
                f"{len(self.damaged)} of {self.num_frames} frames cannot be read, because they or frames "
                f"before them are damaged: {shown}{more}."
            )
        if self.packets.lost:
            declared = self.num_frames + self.packets.lost
            notes.append(
                f"Its end is missing or damaged: {declared} frames are declared and {self.num_frames} are "
                "there; copy or download it again."
            )
        return tuple(notes)

    def check_readable(self) -> None:
        """Decode the first frame that is not known to be damaged.

        Raises:
            ScanError: There is none, or it cannot be decoded.
        """
        first = next((i for i in range(self.num_frames) if i not in self.damaged), None)
        try:
            self.read(first or 0)
        except ScanError as error:
            if first is None:
                raise
            tag = int(self._restart().get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
            codec = one_line(tag.to_bytes(4, "little").decode("ascii", "replace"))
            raise ScanError(
                f"Frame {first} of {self.file} cannot be decoded: it is damaged, or its codec ({codec}) is "
                "not supported; copy the file again, or convert it to H.264."
            ) from error

    def read(self, index: int) -> Frame:
        if index in self.damaged:
            raise self._unreadable(index)
        with self.lock:
            if self.video is None:
                self._restart()
            if self.delay is not None:
                self._count_to(index, self.delay)
            elif not (self.next <= index <= self.next + _STEPS) or not self._decode_to(index):
                self._seek(index)
            _, pixels = self.video.retrieve()
            self.next = index + 1
            if pixels is None:
                raise self._unreadable(index)
            if self.is_rgb:
                return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8)
            return np.ascontiguousarray(pixels if pixels.ndim == 2 else pixels[..., 0], np.uint8)

    def close_if_idle(self) -> None:
        """Close the file, unless a frame is being read; the next access opens it again."""
        if self.lock.acquire(blocking=False):
            try:
                self.video = None
            finally:
                self.lock.release()

    def _restart(self) -> Any:
        self.video = open_video(self.file)
        self.video.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        self.next = 0
        self.broken = (
            False  # a frame before this one could not be decoded, and no key frame came since
        )
        _opened(self)
        return self.video

    def _delay(self) -> int | None:
        """None if frames have times of their own; else how many frames ahead the decoder's times are.

        The first frame of an AVI with B-frames is complete and needs no other frame, but has a later
        frame's time.
        """
        if len(set(self.times)) < self.num_frames:
            return 0
        if self.packets.bad[0] or all(self.packets.keys) or not self.video.grab():
            return None
        time = float(self.video.get(cv2.CAP_PROP_POS_MSEC))
        is_first = int(self.video.get(cv2.CAP_PROP_FRAME_TYPE)) == _INTRA
        ahead = bisect_left(self.times, time - _SAME_TIME)
        return ahead if is_first and 0 < ahead < self.num_frames else None

    def _seek(self, index: int) -> None:
        """Decode a frame from an earlier position; if a seek lands too late, start further back."""
        back = _LEAD
        while True:
            start = max(0, index - back)
            if start:
                self.video.set(cv2.CAP_PROP_POS_FRAMES, start)
                self.broken = False
            else:
                self._restart()
            if self._decode_to(index):
                return
            if not start:
                raise self._unreadable(index)
            back = 4 * back + 16

    def _decode_to(self, index: int) -> bool:
        """Decode forward to a frame; returns whether it was found, with all that it is decoded from."""
        target = self.times[index]
        failures = 0  # each damaged frame fails once; past the end, every grab fails
        while failures < _STEPS:
            if not self.video.grab():
                failures += 1
                # Where a file was cut off, one packet fails, and the frames that wait are shown after it.
                cut = self.packets.lost and index >= self.num_frames - _MOST_REORDERED
                self.broken = self.broken or not cut
                continue
            time = float(self.video.get(cv2.CAP_PROP_POS_MSEC))
            if self._is_key(time):
                self.broken = False
            if time >= target - _SAME_TIME:
                return time <= target + _SAME_TIME and not self.broken
        return False

    def _count_to(self, index: int, delay: int) -> None:
        """Decode forward to a frame by counting; once one fails, which frame comes next is unknown."""
        if index < self.next or self.broken:
            self._restart()
        while self.next <= index:
            ahead = self.next + delay
            self.broken = not self.video.grab() or (
                ahead < self.num_frames
                and abs(self.video.get(cv2.CAP_PROP_POS_MSEC) - self.times[ahead]) > _SAME_TIME
            )
            if self.broken:
                raise self._unreadable(index)
            self.next += 1

    def _is_key(self, time: float) -> bool:
        place = bisect_left(self.keys, time - _SAME_TIME)
        return place < len(self.keys) and self.keys[place] <= time + _SAME_TIME

    def _unreadable(self, index: int) -> ScanError:
        self.next = -1 - _STEPS  # the decoder's position is unknown
        return ScanError(
            f"Frame {index} of {self.file} is damaged or truncated; copy or download the file again."
        )


_open_cines: list[ref[_Cine]] = []
_open_cines_lock = Lock()


def _opened(cine: _Cine) -> None:
    """Note that a file was opened, and close the one that was opened longest ago if there are too many."""
    with _open_cines_lock:
        others = [other for other in _open_cines if other() not in (None, cine)]
        _open_cines[:] = [*others, ref(cine)][-_MOST_OPEN:]
        closing = [other() for other in others[: len(others) + 1 - _MOST_OPEN]]
    for other in closing:
        if other is not None:
            other.close_if_idle()
