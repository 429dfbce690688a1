"""MaskSequence: the masks of several objects in the frames of a scan, as run-length encodings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ultrasam.errors import DataError
from ultrasam.images.masks import BoolMask
from ultrasam.images.rle import decode, encode


@dataclass(slots=True, eq=False)
class MaskSequence:
    """The masks of N objects in the frames of a scan; a frame without an entry has no masks.

    Masks are kept as run-length encodings, some kilobytes each, so that thousands of frames fit into memory.

    Attributes:
        num_frames: the number of frames of the scan.
        height, width: size of every mask in pixels of the scan.
        names: the name of each object, as outputs show it.
    """

    num_frames: int
    height: int
    width: int
    names: tuple[str, ...]
    _encoded: dict[int, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        masks: Mapping[int, BoolMask],
        *,
        num_frames: int,
        names: Sequence[str],
    ) -> MaskSequence:
        """From the masks [N, H, W] of at least one frame.

        Raises:
            DataError: Masks differ in shape, or a frame does not exist.
        """
        if not masks:
            raise DataError("No frame has masks.")
        height, width = next(iter(masks.values())).shape[1:]
        sequence = cls(num_frames, height, width, tuple(names))
        for frame, stack in masks.items():
            sequence.put(frame, stack)
        return sequence

    @property
    def frames(self) -> tuple[int, ...]:
        """The frames that have an entry, in order."""
        return tuple(sorted(self._encoded))

    def put(self, frame: int, masks: npt.ArrayLike) -> None:
        """Set the masks [N, H, W] of a frame.

        Raises:
            DataError: The frame does not exist, or the shape is another.
        """
        stack = np.asarray(masks, dtype=bool)
        if not 0 <= frame < self.num_frames:
            raise DataError(f"Frame {frame} does not exist; the scan has {self.num_frames} frames.")
        if stack.shape != (expected := (len(self.names), self.height, self.width)):
            raise DataError(f"Masks of frame {frame} have shape {stack.shape}, not {expected}.")
        self._encoded[frame] = tuple(encode(mask) for mask in stack)

    def masks(self, frame: int) -> BoolMask:
        """The masks [N, H, W] of a frame; all empty if it has no entry."""
        shape = (self.height, self.width)
        if not self._encoded.get(frame):
            return np.zeros((len(self.names), *shape), bool)
        return np.stack([decode(counts, shape) for counts in self._encoded[frame]]).reshape(
            len(self.names), *shape
        )
