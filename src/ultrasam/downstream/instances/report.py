"""How good instance and semantic segmentation is: COCO AP and Dice, with intervals, and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.downstream.instances.metrics import InstanceMetrics
from ultrasam.downstream.instances.model import Detections, InstanceSegmenter
from ultrasam.downstream.targets import InstanceTarget
from ultrasam.evaluation.metrics.statistics import bootstrap_interval, paired_difference
from ultrasam.images.writing.overlay import draw_overlay
from ultrasam.reporting.html import page
from ultrasam.reporting.markdown import to_html
from ultrasam.reporting.plots import jpeg, picture

Floats = npt.NDArray[np.float64]
_SURE = 0.5
_PICTURES = 12


@dataclass(frozen=True, slots=True, eq=False)
class InstanceReport:
    """The same test images metrics by each initialisation, the first one the one that is saved."""

    classes: tuple[str, ...]
    images: tuple[InstanceTarget, ...]
    by_init: dict[str, InstanceMetrics]
    how: str
    left_out: tuple[str, ...] = field(default=())

    def markdown(self) -> str:
        """All tables."""
        subjects = [image.subject for image in self.images]
        objects = sum(len(image.labels) for image in self.images)
        lines = [
            f"# Segmentation: {', '.join(self.classes)}\n",
            f"{objects} objects in {len(self.images)} images of {len(set(subjects))} subjects. {self.how} "
            "Dice is of the union of a class's objects, mean over the images of the mean over what they show "
            "(an object that is missed or made up counts as 0), with its 95 % interval by bootstrap over "
            "subjects; AP is COCO's of masks.\n",
            "| initialisation | Dice | mAP | AP50 | AP75 |", "|---|---|---|---|---|",
        ]  # fmt: skip
        lines += [f"| {i} | {' | '.join(self.figures(i).values())} |" for i in self.by_init]
        first, *others = self.by_init
        for other in others:
            ours, theirs = self.by_init[first].per_image(), self.by_init[other].per_image()
            both = np.isfinite(ours) & np.isfinite(theirs)
            gap = paired_difference(
                ours[both], theirs[both], [s for s, b in zip(subjects, both, strict=True) if b]
            )
            lines.append(
                f"| *{first} – {other}* | {gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}] |  |  |  |"
            )
        lines += ["", "## Dice per class\n", "| class | " + " | ".join(self.by_init) + " |",
                  "|" + "---|" * (len(self.by_init) + 1)]  # fmt: skip
        for index, name in enumerate(self.classes):
            cells = [_with_interval(j.dice[:, index], subjects) for j in self.by_init.values()]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        if self.left_out:
            told = (f"- {text}" for text in self.left_out)
            lines += ["", f"## Left out: {len(self.left_out)}\n", *told]
        return "\n".join(lines) + "\n"

    def figures(self, init: str) -> dict[str, str]:
        """Dice with its interval, and the average precisions, of an initialisation."""
        metrics = self.by_init[init]
        dice = _with_interval(metrics.per_image(), [image.subject for image in self.images])
        p = metrics.precision
        return {
            "Dice": dice,
            "mAP": f"{p.ap:.3f}",
            "AP50": f"{p.ap50:.3f}",
            "AP75": f"{p.ap75:.3f}",
        }


def write_report(report: InstanceReport, segmenter: InstanceSegmenter, folder: Path) -> Path:
    """``report.md`` and ``report.html``, with the images on which the first initialisation did worst."""
    text = report.markdown()
    (folder / "report.md").write_text(text, encoding="utf-8")
    body = to_html(text)
    body += f"<h2>Worst</h2><p>Truth beside what was found with a score of {_SURE} or more.</p>"
    found = next(iter(report.by_init.values())).per_image()
    order = np.argsort(np.where(np.isfinite(found), found, 2), kind="stable")
    for row in order[:_PICTURES]:
        image = report.images[row]
        pair = beside(
            image, segmenter.find(image.pixels).above(_SURE), segmenter.head_config.classes
        )
        body += picture(f"{image.name}: Dice {found[row]:.2f}", jpeg(pair))
    path = folder / "report.html"
    path.write_text(page("Segmentation", body), encoding="utf-8")
    return path


def beside(
    image: InstanceTarget, found: Detections, classes: Sequence[str]
) -> npt.NDArray[np.uint8]:
    """An RGB picture of the truth beside what was found, one color a class."""
    told = [classes.index(label) for label in image.labels]
    panels = [
        draw_overlay(image.pixels, list(masks), colors=[int(label) for label in labels])
        for masks, labels in ((image.masks, told), (found.masks, found.labels))
    ]
    scale = 320 / max(image.pixels.shape)
    size = tuple(max(1, round(side * scale)) for side in image.pixels.shape[::-1])
    small = [cv2.resize(panel, size, interpolation=cv2.INTER_AREA) for panel in panels]
    return np.concatenate(small, axis=1)


def _with_interval(values: Floats, subjects: Sequence[str]) -> str:
    seen = np.isfinite(values)
    if not seen.any():
        return "–"
    groups = [s for s, known in zip(subjects, seen, strict=True) if known]
    low, high = bootstrap_interval(values[seen], groups)
    return f"{values[seen].mean():.3f} [{low:.3f}, {high:.3f}]"
