"""Classify files; one that fails is reported and does not stop the others."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ultrasam.downstream.classification.exported import ExportedClassifier
from ultrasam.downstream.classification.model import Classifier
from ultrasam.files import atomic_write
from ultrasam.images.pixels import gray
from ultrasam.inference.frames import FrameChoice
from ultrasam.inference.overlap import ahead
from ultrasam.inference.processing import Pipeline, describe_failure, read_frames
from ultrasam.text import valid_text


@dataclass(frozen=True, slots=True)
class ClassResult:
    """The class of one frame of a file, or why there is none.

    Attributes:
        frame: its index.
        probabilities: by class; empty if the file or frame failed.
        error: one sentence if it failed, else None.
        notes: sentences about what was chosen without being asked for.
    """

    path: Path
    frame: int = 0
    probabilities: dict[str, float] | None = None
    error: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The most probable class."""
        assert self.probabilities
        return max(self.probabilities, key=self.probabilities.__getitem__)

    def __str__(self) -> str:
        assert self.probabilities
        return f"{self.path}: {self.label} ({self.probabilities[self.label]:.2f})"


def classify_files(
    classifier: Classifier | ExportedClassifier,
    paths: Sequence[Path],
    *,
    frames: FrameChoice = None,
    pipeline: Pipeline | None = None,
) -> Iterator[ClassResult]:
    """Classify the chosen frames of each file. Pass the results to `write_classes`.

    Args:
        classifier: computes the probabilities.
        paths: the files.
        frames: of cines and volumes.
        pipeline: how files are opened, and how many frames are read ahead; see
            `ultrasam.inference.processing.Pipeline`.
    """
    how = pipeline or Pipeline()
    for read in ahead(read_frames(paths, frames, how.opened), how.depth):
        result = ClassResult(read.path, read.index, error=read.error, notes=read.notes)
        if read.pixels is None:
            yield result
            continue
        try:
            row = classifier.predict([gray(read.pixels)])[0].tolist()
            yield replace(result, probabilities=dict(zip(classifier.classes, row, strict=True)))
        except Exception as error:
            yield replace(result, error=describe_failure(read.path, error))


def write_classes(results: Sequence[ClassResult], classes: Sequence[str], out: Path) -> Path:
    """Write ``classes.csv`` with columns path, class, each class's probability, and frame; returns its path.

    Raises:
        UltraSamError: The file cannot be written.
    """
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(["path", "class", *classes, "frame"])
    for result in results:
        if result.probabilities:
            values = [f"{result.probabilities[name]:.4f}" for name in classes]
            table.writerow([valid_text(result.path), result.label, *values, result.frame])
    path = out / "classes.csv"
    atomic_write(path, text.getvalue())
    return path
