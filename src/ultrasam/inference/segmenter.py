"""Segmenter: the interface that evaluation and batch prediction use."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ultrasam.errors import UltraSamWarning
from ultrasam.images.pixels import Frame
from ultrasam.images.reading import read_scan
from ultrasam.images.scan import Scan
from ultrasam.prompts import Prediction, Prompt

ScanLike = Scan | str | os.PathLike[str] | npt.ArrayLike


def as_scan(scan: ScanLike) -> Scan:
    """Convert a file's path or an array [H, W] or [H, W, 3] to a scan; scans are returned unchanged.

    Raises:
        ScanError: The file or array cannot be read as a scan.
    """
    if isinstance(scan, (str, os.PathLike)):
        return read_scan(scan)
    return scan if isinstance(scan, Scan) else Scan.from_array(scan)


def one_frame(scan: ScanLike, frame: int | None, *, stacklevel: int = 3) -> Frame:
    """The pixels of one frame; None is frame 0, with an `UltraSamWarning` if there are others.

    Raises:
        ScanError: The file or array cannot be read, or has no such frame.
    """
    opened = as_scan(scan)
    if frame is None and opened.num_frames > 1:
        warnings.warn(
            f"{opened.source or 'The scan'} has {opened.num_frames} frames; frame 0 is used. Choose one with "
            "frame=.",
            UltraSamWarning,
            stacklevel=stacklevel,
        )
    return opened.frame(frame or 0)


class Segmenter(Protocol):
    """Segments objects from prompts."""

    def set_image(self, scan: ScanLike, *, frame: int = 0) -> None:
        """Set the frame that later prompts refer to."""

    def predict(self, prompts: Prompt | Sequence[Prompt]) -> Prediction:
        """Predict one mask per prompt."""


@runtime_checkable
class ClassifyingSegmenter(Protocol):
    """A segmenter that also classifies the prompted object."""

    classes: tuple[str, ...]

    def classify(self, prompts: Sequence[Prompt]) -> npt.NDArray[np.float64]:
        """Class probabilities [N, classes] of N prompted objects in the current image."""
