"""Scan: what any file becomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ultrasam.errors import ScanError
from ultrasam.images.pixels import Frame, to_uint8

# More pixels than any scanner makes; what claims more is damaged, or a decompression bomb.
MAX_FRAME_PIXELS = 100_000_000
MAX_FRAMES = 100_000


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """Frames of one still, cine or volume, read when asked for.

    Attributes:
        frames: how many there are; slices of a volume count as frames.
        height, width: of every frame, in pixels.
        color: frames are [H, W, 3] RGB; else [H, W].
        read_frame: the pixels of one frame, uint8; called with 0 … frames - 1.
        spacing: (row, column) distance between pixels' centers in mm, None where unknown.
        source: the file.
        subject: who was scanned, where the file says so.
        frame_time: milliseconds between frames, where known.
    """

    frames: int
    height: int
    width: int
    color: bool
    read_frame: Callable[[int], Frame]
    spacing: tuple[float, float] | None = None
    source: Path | None = None
    subject: str | None = None
    frame_time: float | None = None

    def __len__(self) -> int:
        return self.frames

    def frame(self, index: int = 0) -> Frame:
        """One frame, [H, W] or [H, W, 3] uint8.

        Raises:
            ScanError: there is no such frame, or its bytes are damaged.
        """
        if not 0 <= index < self.frames:
            raise ScanError(
                f"{self.source or 'The scan'} has {self.frames} frames; there is no frame {index} "
                "(the first is 0)."
            )
        pixels = self.read_frame(index)
        if pixels.shape[:2] != (self.height, self.width):
            raise ScanError(
                f"{self.source}: frame {index} is {pixels.shape[1]} × {pixels.shape[0]} pixels, the "
                f"first {self.width} × {self.height}; split the file into scans of one size."
            )
        return pixels

    @property
    def pixels(self) -> Frame:
        """All frames in memory, [T, H, W] or [T, H, W, 3] uint8."""
        return np.stack([self.frame(index) for index in range(self.frames)])

    @classmethod
    def from_array(
        cls, pixels: npt.ArrayLike, *, spacing: tuple[float, float] | None = None
    ) -> Scan:
        """A still from [H, W] or [H, W, 3] pixels: uint8, wider integers, or floats in 0-1 or 0-255.

        Raises:
            ScanError: another shape or type, no pixels, or values that are not finite.
        """
        array = np.asarray(pixels)
        if array.ndim == 3 and array.shape[2] == 1:
            array = array[..., 0]
        if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
            raise ScanError(
                f"An array of shape {array.shape} is no frame; give [H, W] or [H, W, 3]."
            )
        if not array.size:
            raise ScanError(f"An array of shape {array.shape} has no pixels.")
        frame = to_uint8(array[..., :3] if array.ndim == 3 else array)
        height, width = frame.shape[:2]
        return cls(1, height, width, frame.ndim == 3, lambda _: frame, spacing)


def check_size(file: Path, height: int, width: int, frames: int = 1) -> None:
    """Refuse a file whose header claims what no scan has.

    Raises:
        ScanError: no pixels, or more than `MAX_FRAME_PIXELS` or `MAX_FRAMES`.
    """
    if height < 1 or width < 1 or frames < 1:
        raise ScanError(f"{file} has no pixels ({width} × {height}, {frames} frames).")
    if height * width > MAX_FRAME_PIXELS or frames > MAX_FRAMES:
        raise ScanError(
            f"{file} claims {frames} frames of {width} × {height} pixels, more than any scan has; it "
            "is damaged or not meant to be opened."
        )
