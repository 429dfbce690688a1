"""MP4 and AVI through PyAV, decoded from the nearest key frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Any

import av
import numpy as np

from ultrasam.errors import ScanError, one_line
from ultrasam.images.pixels import Frame
from ultrasam.images.scan import Scan, check_size


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
        cine.colour,
        cine.read,
        source=file,
        frame_time=cine.frame_time,
    )


class _Cine:
    """An open video, its frames' times, and where decoding stands."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lock = Lock()
        try:
            self.container: Any = av.open(str(file))
            if not self.container.streams.video:
                raise ScanError(f"{file} has no video stream; give a cine.")
            self.stream = self.container.streams.video[0]
            self.stream.thread_type = "AUTO"
            self.height, self.width = self.stream.height, self.stream.width
            pixel_format = self.stream.format
            self.colour = pixel_format is None or not pixel_format.name.startswith("gray")
            rate = self.stream.average_rate
            self.frame_time = float(1000 / rate) if rate else None
            packets = self.container.demux(self.stream)
            times = (packet.pts if packet.pts is not None else packet.dts for packet in packets)
            self.times = sorted(time for time in times if time is not None)
        except ScanError:
            raise
        except Exception as error:
            raise ScanError(f"{file} is damaged: {one_line(error)}; copy it again.") from error
        if not self.times:
            raise ScanError(f"{file} has no frames; copy it again.")
        self.decoded: Iterator[Any] | None = None
        self.next = -1

    @property
    def frames(self) -> int:
        return len(self.times)

    def read(self, index: int) -> Frame:
        with self.lock:
            try:
                return self._read(index)
            except ScanError:
                raise
            except Exception as error:
                self.decoded = None
                raise ScanError(
                    f"Frame {index} of {self.file} is damaged: {one_line(error)}; copy it again."
                ) from error

    def _read(self, index: int) -> Frame:
        wanted = self.times[index]
        if self.decoded is None or not self.next <= index <= self.next + 8:
            self.container.seek(wanted, stream=self.stream, backward=True, any_frame=False)
            self.decoded = iter(self.container.decode(self.stream))
        for frame in self.decoded:
            if frame.pts is None or frame.pts >= wanted:
                self.next = index + 1
                layout = "rgb24" if self.colour else "gray"
                return np.asarray(frame.to_ndarray(format=layout), dtype=np.uint8)
        self.decoded = None
        raise ScanError(
            f"Frame {index} of {self.file} is missing: the file is cut off; copy it again."
        )
