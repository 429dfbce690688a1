"""The report of a classification: figures with intervals, confusion, what patches speak for a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.downstream.classification.model import Classifier
from ultrasam.downstream.classification.scores import NAMES, ScoreInterval, gain, score
from ultrasam.downstream.images import label_of
from ultrasam.reporting.html import page
from ultrasam.reporting.markdown import to_html
from ultrasam.reporting.plots import figure, jpeg, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = npt.NDArray[np.float64]
_SALIENCY = 12


@dataclass(frozen=True, slots=True)
class ClassificationReport:
    """Probabilities of the same images by each initialisation; the first one is saved."""

    classes: tuple[str, ...]
    images: tuple[AnnotatedImage, ...]
    by_init: dict[str, Floats]
    how: str
    left_out: tuple[str, ...] = ()

    @property
    def truth(self) -> npt.NDArray[np.int64]:
        """[N] indices of classes."""
        return np.array([self.classes.index(label_of(image)) for image in self.images])

    def markdown(self) -> str:
        """All tables."""
        subjects = [image.subject_key for image in self.images]
        counts = ", ".join(
            f"{c} {int((self.truth == i).sum())}" for i, c in enumerate(self.classes)
        )
        lines = [
            f"# Classification: {', '.join(self.classes)}\n",
            f"{len(self.images)} images of {len(set(subjects))} subjects ({counts}). {self.how} Intervals "
            "are 95 %, by bootstrap over subjects; precision, recall and F1 are means over the classes.\n",
            "| initialisation | " + " | ".join(NAMES) + " |",
            "|" + "---|" * (len(NAMES) + 1),
        ]
        for init in self.by_init:
            scored = self.scores(init)
            lines.append(f"| {init} | " + " | ".join(str(scored[name]) for name in NAMES) + " |")
        first, *others = self.by_init
        for other in others:
            gained = gain(self.truth, self.by_init[first], self.by_init[other], subjects)
            cells = [
                f"{g.value:+.3f} [{g.low:+.3f}, {g.high:+.3f}]" for g in map(gained.get, NAMES) if g
            ]
            lines.append(f"| *{first} – {other}* | " + " | ".join(cells) + " |")
        lines += ["", f"## Confusion of {first}\n",
                  "| true \\ predicted | " + " | ".join(self.classes) + " |",
                  "|" + "---|" * (len(self.classes) + 1)]  # fmt: skip
        for name, row in zip(self.classes, self.confusion(first), strict=True):
            lines.append(f"| {name} | " + " | ".join(map(str, row)) + " |")
        if self.left_out:
            lines += [
                "",
                f"## Left out: {len(self.left_out)}\n",
                *(f"- {t}" for t in self.left_out),
            ]
        return "\n".join(lines) + "\n"

    def scores(self, init: str) -> dict[str, ScoreInterval]:
        """All figures of an initialisation."""
        return score(self.truth, self.by_init[init], [image.subject_key for image in self.images])

    def confusion(self, init: str) -> npt.NDArray[np.int64]:
        """[classes, classes] counts, the truth down."""
        predicted = self.by_init[init].argmax(axis=1)
        table = np.zeros((len(self.classes),) * 2, np.int64)
        np.add.at(table, (self.truth, predicted), 1)
        return table


def write_report(report: ClassificationReport, classifier: Classifier, folder: Path) -> Path:
    """``report.md`` and ``report.html``, with a confusion plot and saliency pictures of the images that the
    first initialisation got wrong and right with the highest confidence."""
    text = report.markdown()
    (folder / "report.md").write_text(text, encoding="utf-8")
    first = next(iter(report.by_init))
    body = to_html(text)
    body += figure(f"Confusion, {first}", lambda axes: _plot(axes, report, first))
    body += (
        "<h2>Class activation maps</h2><p>Red patches raise the predicted class, blue lower it.</p>"
    )
    path = folder / "report.html"
    path.write_text(page("Classification", body + _pictures(report, classifier)), encoding="utf-8")
    return path


def _plot(axes: Axes, report: ClassificationReport, init: str) -> None:
    table = report.confusion(init)
    axes.imshow(
        table / np.maximum(1, table.sum(axis=1, keepdims=True)), cmap="Blues", vmin=0, vmax=1
    )
    for (row, column), count in np.ndenumerate(table):
        axes.text(column, row, str(count), ha="center", va="center")
    places = range(len(report.classes))
    axes.set_xticks(places, report.classes)
    axes.set_yticks(places, report.classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")


def _pictures(report: ClassificationReport, classifier: Classifier) -> str:
    found = next(iter(report.by_init.values()))
    predicted, confidence = found.argmax(axis=1), found.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    right = [int(i) for i in order if predicted[i] == report.truth[i]]
    wrong = [int(i) for i in order if predicted[i] != report.truth[i]]
    drawn = []
    for i in [*wrong[: _SALIENCY // 2], *right[: _SALIENCY // 2]]:
        image = report.images[i]
        name = report.classes[predicted[i]]
        title = f"{image.key}: {label_of(image)}, predicted {name} {confidence[i]:.2f}"
        drawn.append(picture(title, jpeg(saliency(classifier, image.gray, int(predicted[i])))))
    return "".join(drawn)


def saliency(
    classifier: Classifier, frame: npt.NDArray[np.uint8], label: int
) -> npt.NDArray[np.uint8]:
    """The frame [H, W] beside itself with what raises a class in red and what lowers it in blue; RGB."""
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


def left_out_of(texts: Sequence[str]) -> str:
    """What was left out, in one line."""
    return f"left out {len(texts)}: {texts[0]}" + (" …" if len(texts) > 1 else "")
