"""The instance-segmentation report: COCO AP, Dice with intervals, and the worst images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.downstream.instances.detections import Detections
from ultrasam.downstream.instances.metrics import InstanceMetrics
from ultrasam.downstream.instances.model import InstanceSegmenter
from ultrasam.downstream.targets import InstanceTarget
from ultrasam.evaluation.metrics.statistics import Estimate, bootstrap_interval, paired_difference
from ultrasam.files import atomic_write
from ultrasam.images.writing.overlay import draw_overlay
from ultrasam.reporting.html import page
from ultrasam.reporting.markdown import escape, table, to_html
from ultrasam.reporting.plots import jpeg, picture
from ultrasam.reporting.tables import NONE, Table, difference, number_json, with_interval
from ultrasam.text import counted

Floats = npt.NDArray[np.float64]
_MIN_SCORE = 0.5
_PICTURES = 12


@dataclass(frozen=True, slots=True, eq=False)
class InstanceReport:
    """Test results of each initialization on the same images; the first one's model is saved.

    Attributes:
        how: how the models were trained and tested, in a sentence.
        left_out: skipped files with reasons, one sentence each.
    """

    classes: tuple[str, ...]
    images: tuple[InstanceTarget, ...]
    by_init: dict[str, InstanceMetrics]
    how: str
    left_out: tuple[str, ...] = field(default=())

    def markdown(self) -> str:
        """All tables in Markdown."""
        subjects = [image.subject for image in self.images]
        objects = sum(len(image.labels) for image in self.images)
        first = next(iter(self.by_init))
        parts = [
            f"# Instance segmentation: {escape(', '.join(self.classes))}\n",
            f"{escape(self.conclusion())}\n",
            f"{counted(objects, 'object')} in {counted(len(self.images), 'image')} of "
            f"{counted(len(set(subjects)), 'subject')}. {self.how} "
            "Dice compares the union of all objects of a class; it is averaged over the classes in an image "
            "(a missed or spurious class counts as 0), then over images, with a 95 % bootstrap interval over "
            "subjects. AP is COCO mask AP.\n",
            table(("initialization", *self.figures(first)), self._score_rows(subjects)) + "\n",
            self._class_table(subjects).markdown(level=2),
        ]
        if self.left_out:
            parts.append(
                "## Left out\n\n" + "".join(f"- {escape(text)}\n" for text in self.left_out)
            )
        return "\n".join(parts)

    def conclusion(self) -> str:
        """How good the saved model is, on how many images, in a sentence."""
        init = next(iter(self.by_init))
        found = self.figures(init)
        return (
            f"{init}: Dice {found['Dice']} and mAP {found['mAP']} on {counted(len(self.images), 'image')} "
            "that it was not trained on."
        )

    def _score_rows(self, subjects: Sequence[str]) -> Iterator[tuple[str, ...]]:
        """A row of scores per initialization, then the first one's difference from each other one."""
        for init in self.by_init:
            yield (init, *self.figures(init).values())
        first, *others = self.by_init
        for other in others:
            ours, theirs = self.by_init[first].per_image(), self.by_init[other].per_image()
            both = np.isfinite(ours) & np.isfinite(theirs)
            gap = paired_difference(
                ours[both], theirs[both], [s for s, b in zip(subjects, both, strict=True) if b]
            )
            yield (f"*{first} – {other}*", difference(gap.mean, gap.low, gap.high), "", "", "")

    def _class_table(self, subjects: Sequence[str]) -> Table:
        rows = tuple(
            (name, *(_mean_cell(m.dice[:, index], subjects) for m in self.by_init.values()))
            for index, name in enumerate(self.classes)
        )
        return Table("Dice per class", ("class", *self.by_init), rows)

    def figures(self, init: str) -> dict[str, str]:
        """Dice with its interval, and average precision, of an initialization."""
        return {
            name: with_interval(found.value, found.low, found.high)
            for name, found in self._estimates(init).items()
        }

    def to_json(self) -> dict[str, Any]:
        """The figures of each initialization; null for what is undefined."""
        return {
            "classes": list(self.classes),
            "images": len(self.images),
            "figures": {
                init: {
                    name: number_json(found.value, found.low, found.high)
                    for name, found in self._estimates(init).items()
                }
                for init in self.by_init
            },
        }

    def _estimates(self, init: str) -> dict[str, Estimate]:
        return self.by_init[init].figures([image.subject for image in self.images])


def write_report(report: InstanceReport, segmenter: InstanceSegmenter, folder: Path) -> Path:
    """Write ``report.md`` and ``report.html``, which shows the first initialization's worst images.

    Returns:
        The path of the page.
    """
    text = report.markdown()
    atomic_write(folder / "report.md", text)
    body = to_html(text)
    body += (
        "<h2>Worst images</h2><p>Ground truth (left) and detections with a score of at least "
        f"{_MIN_SCORE} (right).</p>"
    )
    dice = next(iter(report.by_init.values())).per_image()
    order = np.argsort(np.where(np.isfinite(dice), dice, 2), kind="stable")
    for row in order[:_PICTURES]:
        image = report.images[row]
        pair = beside(image, segmenter.find(image.pixels).above(_MIN_SCORE), segmenter.classes)
        body += picture(f"{image.name}: Dice {dice[row]:.2f}", jpeg(pair))
    path = folder / "report.html"
    atomic_write(path, page("Instance segmentation", body))
    return path


def beside(
    image: InstanceTarget, detections: Detections, classes: Sequence[str]
) -> npt.NDArray[np.uint8]:
    """RGB image of ground truth (left) and detections (right), with one color per class."""
    true_labels = [classes.index(label) for label in image.labels]
    panels = [
        draw_overlay(image.pixels, list(masks), colors=[int(label) for label in labels])
        for masks, labels in (
            (image.masks, true_labels),
            (detections.masks, detections.labels),
        )
    ]
    scale = 320 / max(image.pixels.shape)
    size = tuple(max(1, round(side * scale)) for side in image.pixels.shape[::-1])
    small = [cv2.resize(panel, size, interpolation=cv2.INTER_AREA) for panel in panels]
    return np.concatenate(small, axis=1)


def _mean_cell(values: Floats, subjects: Sequence[str]) -> str:
    """Mean with its interval; undefined values are ignored."""
    defined = np.isfinite(values)
    if not defined.any():
        return NONE
    groups = [s for s, known in zip(subjects, defined, strict=True) if known]
    return with_interval(
        float(values[defined].mean()), *bootstrap_interval(values[defined], groups)
    )
