"""Read the frames of a scan forwards or backwards, few at a time; a damaged one is left out and told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ultrasam.errors import ScanError
from ultrasam.images.pixels import Frame, Gray, gray
from ultrasam.images.scan import Scan

_CHUNK = 16  # frames in memory; backwards, videos are decoded forwards in chunks of this length


@dataclass(frozen=True, slots=True, eq=False)
class SeenFrame:
    """One frame.

    Attributes:
        index: in the scan.
        pixels: [H, W] or [H, W, 3]; None if it cannot be read.
        gray: [H, W]; None if it cannot be read.
    """

    index: int
    pixels: Frame | None
    gray: Gray | None


@dataclass(slots=True, eq=False)
class FrameSource:
    """The frames of a scan.

    Attributes:
        scan: the scan.
        unreadable: why a frame cannot be read, a sentence each.
    """

    scan: Scan
    unreadable: dict[int, str] = field(default_factory=dict)

    def forwards(self, first: int, last: int) -> Iterator[SeenFrame]:
        """Frames ``first`` … ``last``."""
        return (self.read(index) for index in range(first, last + 1))

    def backwards(self, first: int, last: int) -> Iterator[SeenFrame]:
        """Frames ``first`` … ``last``, the last first."""
        for end in range(last, first - 1, -_CHUNK):
            start = max(first, end - _CHUNK + 1)
            yield from reversed([self.read(index) for index in range(start, end + 1)])

    def read(self, index: int) -> SeenFrame:
        """One frame, without an error if it is damaged."""
        try:
            pixels = self.scan.frame(index)
            return SeenFrame(index, pixels, gray(pixels))
        except ScanError as error:
            self.unreadable[index] = str(error)
            return SeenFrame(index, None, None)
