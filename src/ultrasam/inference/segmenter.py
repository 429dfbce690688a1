"""Segmenter: the protocol that evaluation, annotation and batch prediction talk to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ultrasam.images.reading import read_scan
from ultrasam.images.scan import Scan
from ultrasam.prompts import Prediction, Prompt

ScanLike = Scan | str | os.PathLike[str] | npt.ArrayLike


def as_scan(scan: ScanLike) -> Scan:
    """A scan, a file's path or an array [H, W] or [H, W, 3] as a scan.

    Raises:
        ScanError: the file or array is none.
    """
    if isinstance(scan, (str, os.PathLike)):
        return read_scan(scan)
    return scan if isinstance(scan, Scan) else Scan.from_array(scan)


class Segmenter(Protocol):
    """Anything that segments what a prompt points at."""

    def set_image(self, scan: ScanLike, *, frame: int = 0) -> None:
        """Take one frame; prompts that follow are in its pixels."""

    def predict(self, prompts: Prompt | Sequence[Prompt]) -> Prediction:
        """One mask per prompt."""


@runtime_checkable
class Classifying(Protocol):
    """A segmenter that also tells the class of what a prompt points at."""

    classes: tuple[str, ...]

    def classify(self, prompts: Sequence[Prompt]) -> npt.NDArray[np.float64]:
        """Probabilities [N, classes], of the image that is set."""
