"""The classification report: metrics with intervals, confusion matrix, class activation maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.downstream.class_files import label_of
from ultrasam.downstream.classification.model import Classifier
from ultrasam.downstream.classification.scores import NAMES, ScoreInterval, gain, score
from ultrasam.files import atomic_write
from ultrasam.reporting.html import page
from ultrasam.reporting.markdown import escape, table, to_html
from ultrasam.reporting.plots import figure, jpeg, picture
from ultrasam.reporting.tables import Table, difference, number_json
from ultrasam.text import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = npt.NDArray[np.float64]
_PICTURES = 12


@dataclass(frozen=True)
class ClassificationReport:
    """Test results of each initialization on the same images; the first one's model is saved.

    Attributes:
        by_init: class probabilities [N, classes] by initialization.
        how: how the models were tested, in a sentence.
        left_out: skipped files with reasons, one sentence each.
    """

    classes: tuple[str, ...]
    images: tuple[AnnotatedImage, ...]
    by_init: dict[str, Floats]
    how: str
    left_out: tuple[str, ...] = ()

    @property
    def truth(self) -> npt.NDArray[np.int64]:
        """True class indices [N]."""
        return np.array([self.classes.index(label_of(image)) for image in self.images])

    def markdown(self) -> str:
        """All tables in Markdown."""
        subjects = [image.subject_key for image in self.images]
        counts = ", ".join(
            f"{c} {int((self.truth == i).sum())}" for i, c in enumerate(self.classes)
        )
        parts = [
            f"# Image classification: {escape(', '.join(self.classes))}\n",
            f"{escape(self.conclusion())}\n",
            f"{counted(len(self.images), 'image')} of {counted(len(set(subjects)), 'subject')} "
            f"({escape(counts)}). {self.how} "
            "Intervals are 95 % bootstrap intervals over subjects. Precision, recall and F1 are macro "
            "averages.\n",
            table(("initialization", *NAMES), self._score_rows(subjects)) + "\n",
            self._confusion_table(next(iter(self.by_init))).markdown(level=2),
        ]
        if self.left_out:
            parts.append(
                "## Left out\n\n" + "".join(f"- {escape(text)}\n" for text in self.left_out)
            )
        return "\n".join(parts)

    def conclusion(self) -> str:
        """How good the saved model is, on how many images, and whether that is more than a guess."""
        init = next(iter(self.by_init))
        found = self.scores(init)["accuracy"]
        counts = np.bincount(self.truth, minlength=len(self.classes))
        guess, share = self.classes[int(counts.argmax())], float(counts.max() / counts.sum())
        text = (
            f"{init}: accuracy {found} on {counted(len(self.images), 'image')} that it was not trained on; "
            f"always answering '{guess}' would give {share:.3f}."
        )
        if np.isnan(found.low):
            return text
        sure = found.low > share
        return text if sure else f"{text} The model may be no better than that."

    def _score_rows(self, subjects: Sequence[str]) -> Iterator[tuple[str, ...]]:
        """A row of scores per initialization, then the first one's difference from each other one."""
        for init in self.by_init:
            scored = self.scores(init)
            yield (init, *(str(scored[name]) for name in NAMES))
        first, *others = self.by_init
        for other in others:
            gains = gain(self.truth, self.by_init[first], self.by_init[other], subjects)
            cells = (difference(g.value, g.low, g.high) for g in (gains[name] for name in NAMES))
            yield (f"*{first} – {other}*", *cells)

    def _confusion_table(self, init: str) -> Table:
        rows = tuple(
            (name, *map(str, row))
            for name, row in zip(self.classes, self.confusion(init), strict=True)
        )
        return Table(f"Confusion matrix, {init}", ("true \\ predicted", *self.classes), rows)

    def scores(self, init: str) -> dict[str, ScoreInterval]:
        """All metrics of an initialization."""
        return self._scores[init]

    def to_json(self) -> dict[str, Any]:
        """The metrics and the confusion matrix of each initialization; null for what is undefined."""
        return {
            "classes": list(self.classes),
            "images": len(self.images),
            "figures": {
                init: {n: number_json(s.value, s.low, s.high) for n, s in self.scores(init).items()}
                for init in self.by_init
            },
            "confusion": {init: self.confusion(init).tolist() for init in self.by_init},
            "left_out": list(self.left_out),
        }

    @cached_property
    def _scores(self) -> dict[str, dict[str, ScoreInterval]]:
        subjects = [image.subject_key for image in self.images]
        return {init: score(self.truth, found, subjects) for init, found in self.by_init.items()}

    def confusion(self, init: str) -> npt.NDArray[np.int64]:
        """Confusion matrix [classes, classes] of counts; rows are true classes."""
        predicted = self.by_init[init].argmax(axis=1)
        counts = np.zeros((len(self.classes),) * 2, np.int64)
        np.add.at(counts, (self.truth, predicted), 1)
        return counts


def write_report(report: ClassificationReport, classifier: Classifier, folder: Path) -> Path:
    """Write ``report.md`` and ``report.html``; return the path of the page.

    The page also plots the confusion matrix, and shows class activation maps of the first initialization's
    most confident errors and most confident correct predictions.
    """
    text = report.markdown()
    atomic_write(folder / "report.md", text)
    first = next(iter(report.by_init))
    body = to_html(text)
    body += figure(f"Confusion matrix, {first}", lambda axes: _plot_confusion(axes, report, first))
    body += (
        "<h2>Class activation maps</h2><p>Most confident errors first, then most confident correct "
        "predictions. Red patches support the predicted class, blue patches oppose it.</p>"
    )
    path = folder / "report.html"
    atomic_write(path, page("Image classification", body + _pictures(report, classifier)))
    return path


def _plot_confusion(axes: Axes, report: ClassificationReport, init: str) -> None:
    counts = report.confusion(init)
    axes.imshow(
        counts / np.maximum(1, counts.sum(axis=1, keepdims=True)), cmap="Blues", vmin=0, vmax=1
    )
    for (row, column), count in np.ndenumerate(counts):
        axes.text(column, row, str(count), ha="center", va="center")
    ticks = range(len(report.classes))
    axes.set_xticks(ticks, report.classes)
    axes.set_yticks(ticks, report.classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")


def _pictures(report: ClassificationReport, classifier: Classifier) -> str:
    probabilities = next(iter(report.by_init.values()))
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    right = [int(i) for i in order if predicted[i] == report.truth[i]]
    wrong = [int(i) for i in order if predicted[i] != report.truth[i]]
    pictures = []
    for i in [*wrong[: _PICTURES // 2], *right[: _PICTURES // 2]]:
        image = report.images[i]
        name = report.classes[predicted[i]]
        title = f"{image.key}: {label_of(image)}, predicted {name} {confidence[i]:.2f}"
        pictures.append(picture(title, jpeg(saliency(classifier, image.gray, int(predicted[i])))))
    return "".join(pictures)


def saliency(
    classifier: Classifier, frame: npt.NDArray[np.uint8], label: int
) -> npt.NDArray[np.uint8]:
    """RGB image: the frame [H, W], and next to it the class activation map over it (red for, blue
    against)."""
    pixels, valid = classifier.input(frame)
    device = classifier.classify.weight.device
    maps = classifier.class_activation_map(pixels[None].to(device), valid[None].to(device), label)
    grid = maps[0].cpu().numpy()
    inside = valid.numpy() > 0
    grid = grid[: inside.any(axis=1).sum(), : inside.any(axis=0).sum()]
    grid = grid / max(1e-9, float(np.abs(grid).max()))
    scale = 320 / max(frame.shape)
    size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
    small = cv2.cvtColor(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), cv2.COLOR_GRAY2RGB)
    heat = cv2.resize(grid, size, interpolation=cv2.INTER_LINEAR)[..., None]
    color = np.where(heat > 0, (255, 60, 40), (50, 90, 255))
    strength = 0.6 * np.abs(heat)
    mixed = np.asarray(small * (1 - strength) + color * strength, np.uint8)
    return np.concatenate([small, mixed], axis=1)
