"""Classify files; one that fails is reported and does not stop the others."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ultrasam.downstream.classification.exported import ExportedClassifier
from ultrasam.downstream.classification.model import Classifier
from ultrasam.files import atomic_write
from ultrasam.images.pixels import gray
from ultrasam.images.reading import read_scan
from ultrasam.inference.frames import FrameChoice, choose_frames
from ultrasam.inference.processing import describe_failure
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
) -> Iterator[ClassResult]:
    """Classify the chosen frames of each file. Pass the results to `write_classes`."""
    for path in paths:
        try:
            scan = read_scan(path)
            chosen, notes = choose_frames(scan, frames, path)
        except Exception as error:
            yield ClassResult(path, error=describe_failure(path, error))
            continue
        for index in chosen:
            try:
                row = classifier.predict([gray(scan.frame(index))])[0].tolist()
                found = dict(zip(classifier.classes, row, strict=True))
                yield ClassResult(path, index, found, notes=notes)
            except Exception as error:
                yield ClassResult(path, index, error=describe_failure(path, error), notes=notes)
            notes = ()


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
