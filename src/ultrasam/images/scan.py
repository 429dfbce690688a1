"""Scan: the frames of a still, cine or volume, with spacing and source."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ultrasam.errors import ScanError, one_line
from ultrasam.images.pillow import pixels_of
from ultrasam.images.pixels import Frame, to_uint8
from ultrasam.images.regions import Region
from ultrasam.text import counted

# More than any scanner produces; a file that declares more is damaged or a decompression bomb.
MAX_FRAME_PIXELS = 100_000_000
MAX_FRAMES = 100_000
_limits: ContextVar[tuple[int, int]] = ContextVar("limits", default=(MAX_FRAME_PIXELS, MAX_FRAMES))


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """The frames of one still, cine or volume, decoded on access; iterating yields one frame at a time.

    Attributes:
        num_frames: the number of frames; a volume's slices are its frames.
        height, width: size of every frame in pixels.
        is_rgb: frames are [H, W, 3] RGB; otherwise [H, W].
        read_frame: returns the pixels of frame 0 … num_frames - 1, uint8.
        spacing: (row, column) distance between pixel centers in mm, or None if unknown; if its regions
            differ, that of the first calibrated one.
        source: the file.
        subject: the patient ID, if the file has one.
        frame_time: milliseconds between frames, if known.
        notes: what is odd about the file and how it was read, a sentence each; `read_scan` logs them.
        regions: the rectangles that the scanner calibrates one by one; none if the file does not say.
        slice_spacing: distance between the centers of a volume's slices in mm; None if unknown, or if the
            frames are no slices.
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
    regions: tuple[Region, ...] = ()
    slice_spacing: float | None = None

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
                f"frame {index} does not exist."
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
        cls, pixels: npt.ArrayLike | Image.Image, *, spacing: tuple[float, float] | None = None
    ) -> Scan:
        """Make a still from pixels [H, W] or [H, W, 3]: uint8, wider integers, or floats in 0–1 or 0–255.

        A Pillow image is taken as it looks (without EXIF orientation, as its ``size`` is), whatever its mode.

        Raises:
            ScanError: The shape or type is wrong, the array is empty, or a value is not finite or is masked.
        """
        array = _as_array(pixels)
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


def _as_array(pixels: Any) -> npt.NDArray[Any]:
    if pixels is None:
        raise ScanError(
            "None is not a frame; if cv2.imread returned it, the file could not be read: give its path."
        )
    if isinstance(pixels, Image.Image):
        return pixels_of(pixels)
    if np.ma.is_masked(pixels):
        raise ScanError("Some pixels are masked; fill them, as with numpy.ma.filled(pixels, 0).")
    try:
        return np.asarray(pixels)
    except Exception as error:  # of any class: PyTorch has its own for each kind of tensor
        raise ScanError(
            f"{type(pixels).__name__} cannot be converted to an array: {one_line(error)}."
        ) from error


class TooLargeError(ScanError):
    """A file has more pixels or frames than `scan_limits` allows."""


@contextmanager
def scan_limits(*, pixels: int, frames: int) -> Iterator[None]:
    """Lower the limits of what is read inside the block, in this thread: for files of strangers.

    All readers check them against what the header declares, before anything is decoded.

    Args:
        pixels: of a frame.
        frames: of a file.

    Raises:
        TooLargeError: A file that is read in the block has more.
    """
    before = _limits.set((min(pixels, MAX_FRAME_PIXELS), min(frames, MAX_FRAMES)))
    try:
        yield
    finally:
        _limits.reset(before)


def check_size(file: Path, height: int, width: int, frames: int = 1) -> None:
    """Reject a file whose header declares an implausible size.

    Raises:
        ScanError: The file has no pixels, or more than `MAX_FRAME_PIXELS` or `MAX_FRAMES`.
        TooLargeError: It has more than `scan_limits` allows.
    """
    if height < 1 or width < 1 or frames < 1:
        raise ScanError(f"{file} has no pixels ({width} × {height}, {frames} frames).")
    if height * width > MAX_FRAME_PIXELS or frames > MAX_FRAMES:
        raise ScanError(
            f"{file} declares {frames} frames of {width} × {height} pixels, more than any scan has; it is "
            "damaged or malicious."
        )
    most_pixels, most_frames = _limits.get()
    if height * width > most_pixels or frames > most_frames:
        raise TooLargeError(
            f"{file} has {counted(frames, 'frame')} of {width} × {height} pixels; at most {most_frames:,} "
            f"frames of {most_pixels:,} pixels are taken here."
        )
