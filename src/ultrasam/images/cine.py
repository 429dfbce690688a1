"""MP4 and AVI through OpenCV's FFmpeg, decoded from the nearest key frame.

OpenCV counts and seeks by the frame rate, which is a guess where frames are unevenly spaced. Here a frame is
the one that has its time: the times are read from the file's packets, without decoding.
"""

from __future__ import annotations

import os
from pathlib import Path
from threading import Lock
from typing import Any

import cv2
import numpy as np

from ultrasam.errors import ScanError
from ultrasam.images.pixels import Frame
from ultrasam.images.scan import Scan, check_size

# What FFmpeg and OpenCV print of a damaged file goes to the terminal past Python; our error says it.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

_set_log_level: Any = (
    getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
)  # OpenCV 4, 5

_RAW_PACKETS = [cv2.CAP_PROP_FORMAT, -1]
_GRAY = (b"Y8", b"Y1")  # how the codes of FFmpeg's gray pixel formats begin
_SAME_TIME = 0.01  # ms; frames are at least 1 ms apart
_STEPS = 8  # frames ahead to which decoding on is cheaper than a seek
_LEAD = 8  # frames before the wanted one to seek to: a key frame may be followed by frames shown before it


def read_cine(file: Path) -> Scan:
    """Open a cine; frames are decoded when asked for, in order at no extra cost.

    Raises:
        ScanError: damaged, truncated, too large, or without a video stream.
    """
    cine = _Cine(file)
    check_size(file, cine.height, cine.width, cine.frames)
    cine.read(0)
    return Scan(
        cine.frames,
        cine.height,
        cine.width,
        cine.color,
        cine.read,
        source=file,
        frame_time=cine.frame_time,
    )


class _Cine:
    """An open video, its frames' times, and where decoding stands."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lock = Lock()
        self.times = _times(file)
        self.video = _opened(file)
        self.height = int(self.video.get(cv2.CAP_PROP_FRAME_HEIGHT))
        self.width = int(self.video.get(cv2.CAP_PROP_FRAME_WIDTH))
        code = int(self.video.get(cv2.CAP_PROP_CODEC_PIXEL_FORMAT)) & 0xFFFFFFFF
        self.color = not code.to_bytes(4, "little").startswith(_GRAY)
        rate = float(self.video.get(cv2.CAP_PROP_FPS))
        self.frame_time = 1000 / rate if rate > 0 else None
        self.next = 0

    @property
    def frames(self) -> int:
        return len(self.times)

    def read(self, index: int) -> Frame:
        with self.lock:
            if not (self.next <= index <= self.next + _STEPS) or not self._reach(index):
                self._find(index)
            _, pixels = self.video.retrieve()
            self.next = index + 1
            if pixels is None:
                raise self._damaged(index)
            if self.color:
                return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8)
            return np.ascontiguousarray(pixels if pixels.ndim == 2 else pixels[..., 0], np.uint8)

    def _find(self, index: int) -> None:
        """Decode up to a frame from a place before it; a seek may land behind, then from further back."""
        back = _LEAD
        while True:
            start = max(0, index - back)
            if start:
                self.video.set(cv2.CAP_PROP_POS_FRAMES, start)
            else:
                self.video = _opened(self.file)
            if self._reach(index):
                return
            if not start:
                raise self._damaged(index)
            back = 4 * back + 16

    def _reach(self, index: int) -> bool:
        """Decode on to a frame; whether it came."""
        wanted = self.times[index]
        failures = 0  # one at each frame that is damaged; at the end they do not stop
        while failures < _STEPS:
            if not self.video.grab():
                failures += 1
                continue
            time = float(self.video.get(cv2.CAP_PROP_POS_MSEC))
            if time >= wanted - _SAME_TIME:
                return time <= wanted + _SAME_TIME
        return False

    def _damaged(self, index: int) -> ScanError:
        self.next = -1 - _STEPS  # where decoding stands is not known
        return ScanError(
            f"Frame {index} of {self.file} is damaged or cut off; copy or download the file again."
        )


def _opened(file: Path, options: list[int] | None = None) -> Any:
    level = _set_log_level(0)
    try:
        video = cv2.VideoCapture(str(file), cv2.CAP_FFMPEG, options or [])
    finally:
        _set_log_level(level)
    if not video.isOpened():
        raise ScanError(
            f"{file} is damaged, or has no video stream that can be decoded; copy it again or convert it."
        )
    return video


def _times(file: Path) -> list[float]:
    """The frames' times in ms, in the order in which they are shown."""
    packets = _opened(file, _RAW_PACKETS)
    times = []
    while packets.grab():
        times.append(float(packets.get(cv2.CAP_PROP_POS_MSEC)))
    # What an edit list cuts off comes before the start, and is never shown.
    times = sorted(time for time in times if time >= 0)
    if not times:
        raise ScanError(f"{file} has no frames; copy it again.")
    return times
