"""Read MP4 and AVI through OpenCV's FFmpeg, decoding from the nearest key frame.

OpenCV counts and seeks frames by the frame rate, which is wrong if frames are unevenly spaced. This reader
identifies each frame by its timestamp, taken from the file's packets without decoding.
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

# FFmpeg and OpenCV print to the terminal, bypassing Python; our errors report the same.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

_set_log_level: Any = (
    getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
)  # OpenCV 4, 5

_RAW_PACKETS = [cv2.CAP_PROP_FORMAT, -1]
_GRAY = (b"Y8", b"Y1")  # prefixes of the codes of FFmpeg's gray pixel formats
_SAME_TIME = 0.01  # ms; frames are at least 1 ms apart
_STEPS = 8  # up to this many frames ahead, decoding is cheaper than seeking
_LEAD = (
    8  # seek this many frames early: frames displayed before a key frame may follow it in the file
)


def read_cine(file: Path) -> Scan:
    """Open a cine; frames are decoded on access, cheapest in order.

    Raises:
        ScanError: The file is damaged, truncated or too large, or has no video stream.
    """
    cine = _Cine(file)
    check_size(file, cine.height, cine.width, cine.num_frames)
    cine.read(0)
    return Scan(
        cine.num_frames,
        cine.height,
        cine.width,
        cine.is_rgb,
        cine.read,
        source=file,
        frame_time=cine.frame_time,
    )


class _Cine:
    """An open video, the timestamps of its frames, and the decoder's position."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lock = Lock()
        self.times = _read_times(file)
        self.video = _open(file)
        self.height = int(self.video.get(cv2.CAP_PROP_FRAME_HEIGHT))
        self.width = int(self.video.get(cv2.CAP_PROP_FRAME_WIDTH))
        code = int(self.video.get(cv2.CAP_PROP_CODEC_PIXEL_FORMAT)) & 0xFFFFFFFF
        self.is_rgb = not code.to_bytes(4, "little").startswith(_GRAY)
        rate = float(self.video.get(cv2.CAP_PROP_FPS))
        self.frame_time = 1000 / rate if rate > 0 else None
        self.next = 0

    @property
    def num_frames(self) -> int:
        return len(self.times)

    def read(self, index: int) -> Frame:
        with self.lock:
            if not (self.next <= index <= self.next + _STEPS) or not self._decode_to(index):
                self._seek(index)
            _, pixels = self.video.retrieve()
            self.next = index + 1
            if pixels is None:
                raise self._damaged(index)
            if self.is_rgb:
                return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8)
            return np.ascontiguousarray(pixels if pixels.ndim == 2 else pixels[..., 0], np.uint8)

    def _seek(self, index: int) -> None:
        """Decode a frame from an earlier position; if a seek lands too late, start further back."""
        back = _LEAD
        while True:
            start = max(0, index - back)
            if start:
                self.video.set(cv2.CAP_PROP_POS_FRAMES, start)
            else:
                self.video = _open(self.file)
            if self._decode_to(index):
                return
            if not start:
                raise self._damaged(index)
            back = 4 * back + 16

    def _decode_to(self, index: int) -> bool:
        """Decode forward to a frame; returns whether it was found."""
        target = self.times[index]
        failures = 0  # each damaged frame fails once; past the end, every grab fails
        while failures < _STEPS:
            if not self.video.grab():
                failures += 1
                continue
            time = float(self.video.get(cv2.CAP_PROP_POS_MSEC))
            if time >= target - _SAME_TIME:
                return time <= target + _SAME_TIME
        return False

    def _damaged(self, index: int) -> ScanError:
        self.next = -1 - _STEPS  # the decoder's position is unknown
        return ScanError(
            f"Frame {index} of {self.file} is damaged or truncated; copy or download the file again."
        )


def _open(file: Path, options: list[int] | None = None) -> Any:
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


def _read_times(file: Path) -> list[float]:
    """The frames' timestamps in ms, in display order."""
    packets = _open(file, _RAW_PACKETS)
    times = []
    while packets.grab():
        times.append(float(packets.get(cv2.CAP_PROP_POS_MSEC)))
    # Frames removed by an edit list have negative times and are never shown.
    times = sorted(time for time in times if time >= 0)
    if not times:
        raise ScanError(f"{file} has no frames; copy or download it again.")
    return times
