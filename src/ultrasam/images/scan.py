"""Scan: the frames of a still, cine or volume, with spacing and source."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ultrasam.errors import ScanError
from ultrasam.images.pixels import Frame, to_uint8
from ultrasam.text import counted

# More than any scanner produces; a file that declares more is damaged or a decompression bomb.
MAX_FRAME_PIXELS = 100_000_000
MAX_FRAMES = 100_000


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """The frames of one still, cine or volume, decoded on access; iterating yields one frame at a time.

    Attributes:
        num_frames: the number of frames; a volume's slices are its frames.
        height, width: size of every frame in pixels.
        is_rgb: frames are [H, W, 3] RGB; otherwise [H, W].
        read_frame: returns the pixels of frame 0 … num_frames - 1, uint8.
        spacing: (row, column) distance between pixel centers in mm, or None if unknown.
        source: the file.
        subject: the patient ID, if the file has one.
        frame_time: milliseconds between frames, if known.
        notes: what is odd about the file and how it was read, a sentence each; `read_scan` logs them.
    """

    num_frames: int
    height: int
    width: int
    is_rgb: bool
    read_frame: Callable[[int], Frame]
    spacing: tuple[float, float] | None = None
    source: Path | None = None
    subject: str | None = None
    frame_time: float | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.num_frames

    def frame(self, index: int = 0) -> Frame:
        """Decode one frame, [H, W] or [H, W, 3] uint8.

        Raises:
            ScanError: The frame does not exist, is damaged, or has a different size.
        """
        if not 0 <= index < self.num_frames:
            raise ScanError(
                f"{self.source or 'The scan'} has {counted(self.num_frames, 'frame')}, numbered from 0; "
                f"there is no frame {index}."
            )
        pixels = self.read_frame(index)
        if pixels.shape[:2] != (self.height, self.width):
            raise ScanError(
                f"{self.source}: frame {index} is {pixels.shape[1]} × {pixels.shape[0]} pixels, but the "
                f"first is {self.width} × {self.height}; split the file into scans of one size."
            )
        return pixels

    def __iter__(self) -> Iterator[Frame]:
        return (self.frame(index) for index in range(self.num_frames))

    def read_all(self) -> Frame:
        """Decode every frame into memory, as [T, H, W] or [T, H, W, 3] uint8."""
        return np.stack(list(self))

    @classmethod
    def from_array(
        cls, pixels: npt.ArrayLike, *, spacing: tuple[float, float] | None = None
    ) -> Scan:
        """Make a still from pixels [H, W] or [H, W, 3]: uint8, wider integers, or floats in 0–1 or 0–255.

        Raises:
            ScanError: The shape or type is wrong, the array is empty, or a value is not finite.
        """
        array = np.asarray(pixels)
        if array.ndim == 3 and array.shape[2] == 1:
            array = array[..., 0]
        if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
            raise ScanError(
                f"An array of shape {array.shape} is not a frame; give [H, W] or [H, W, 3]."
            )
        if not array.size:
            raise ScanError(f"An array of shape {array.shape} has no pixels.")
        frame = to_uint8(array[..., :3] if array.ndim == 3 else array)
        height, width = frame.shape[:2]
        return cls(1, height, width, frame.ndim == 3, lambda _: frame, spacing)


def check_size(file: Path, height: int, width: int, frames: int = 1) -> None:
    """Reject a file whose header declares an implausible size.

    Raises:
        ScanError: The file has no pixels, or more than `MAX_FRAME_PIXELS` or `MAX_FRAMES`.
    """
    if height < 1 or width < 1 or frames < 1:
        raise ScanError(f"{file} has no pixels ({width} × {height}, {frames} frames).")
    if height * width > MAX_FRAME_PIXELS or frames > MAX_FRAMES:
        raise ScanError(
            f"{file} declares {frames} frames of {width} × {height} pixels, more than any scan has; it is "
            "damaged or malicious."
        )
