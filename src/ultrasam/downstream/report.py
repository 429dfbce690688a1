"""The report of a classification: figures with intervals, confusion, what patches speak for a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from ultrasam.downstream.classifier import Classifier
from ultrasam.downstream.labelled import Labelled
from ultrasam.downstream.scores import NAMES, Scored, gain, score
from ultrasam.reporting.html import page
from ultrasam.reporting.plots import figure, jpeg, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = npt.NDArray[np.float64]
_SALIENCY = 12


@dataclass(frozen=True, slots=True)
class Outcome:
    """Probabilities of the same items by each initialisation, the first one the one that is judged."""

    classes: tuple[str, ...]
    items: tuple[Labelled, ...]
    by_init: dict[str, Floats]
    how: str
    left_out: tuple[str, ...] = ()

    @property
    def truth(self) -> npt.NDArray[np.int64]:
        """[N] indices of classes."""
        return np.array([self.classes.index(item.label) for item in self.items])

    def markdown(self) -> str:
        """All tables."""
        subjects = [item.subject for item in self.items]
        counts = ", ".join(
            f"{c} {int((self.truth == i).sum())}" for i, c in enumerate(self.classes)
        )
        lines = [
            f"# Classification: {', '.join(self.classes)}\n",
            f"{len(self.items)} images of {len(set(subjects))} subjects ({counts}). {self.how} Intervals are "
            "95 %, by bootstrap over subjects; precision, recall and F1 are means over the classes.\n",
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
        lines += ["", f"## Confusion of {first}\n", "| true \\ said | " + " | ".join(self.classes) + " |",
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

    def scores(self, init: str) -> dict[str, Scored]:
        """All figures of an initialisation."""
        return score(self.truth, self.by_init[init], [item.subject for item in self.items])

    def confusion(self, init: str) -> npt.NDArray[np.int64]:
        """[classes, classes] counts, the truth down."""
        said = self.by_init[init].argmax(axis=1)
        table = np.zeros((len(self.classes),) * 2, np.int64)
        np.add.at(table, (self.truth, said), 1)
        return table


def write(outcome: Outcome, classifier: Classifier, folder: Path) -> Path:
    """``report.md`` and ``report.html``, with a confusion plot and saliency pictures of the images that the
    first initialisation is surest of and wrong, and surest of and right."""
    from markdown_it import MarkdownIt

    text = outcome.markdown()
    (folder / "report.md").write_text(text, encoding="utf-8")
    first = next(iter(outcome.by_init))
    body = MarkdownIt("commonmark").enable("table").render(text)
    body += figure(f"Confusion, {first}", lambda axes: _plot(axes, outcome, first))
    body += "<h2>Evidence</h2><p>Red patches speak for the class that is said (class activation maps).</p>"
    path = folder / "report.html"
    path.write_text(page("Classification", body + _pictures(outcome, classifier)), encoding="utf-8")
    return path


def _plot(axes: Axes, outcome: Outcome, init: str) -> None:
    table = outcome.confusion(init)
    axes.imshow(
        table / np.maximum(1, table.sum(axis=1, keepdims=True)), cmap="Blues", vmin=0, vmax=1
    )
    for (row, column), count in np.ndenumerate(table):
        axes.text(column, row, str(count), ha="center", va="center")
    places = range(len(outcome.classes))
    axes.set_xticks(places, outcome.classes)
    axes.set_yticks(places, outcome.classes)
    axes.set_xlabel("said")
    axes.set_ylabel("true")


def _pictures(outcome: Outcome, classifier: Classifier) -> str:
    found = next(iter(outcome.by_init.values()))
    said, sure = found.argmax(axis=1), found.max(axis=1)
    order = np.argsort(-sure, kind="stable")
    right = [int(i) for i in order if said[i] == outcome.truth[i]]
    wrong = [int(i) for i in order if said[i] != outcome.truth[i]]
    drawn = []
    for i in [*wrong[: _SALIENCY // 2], *right[: _SALIENCY // 2]]:
        item = outcome.items[i]
        title = f"{item.name}: {item.label}, said {outcome.classes[said[i]]} {sure[i]:.2f}"
        drawn.append(picture(title, jpeg(saliency(classifier, item.read(), int(said[i])))))
    return "".join(drawn)


def saliency(
    classifier: Classifier, frame: npt.NDArray[np.uint8], label: int
) -> npt.NDArray[np.uint8]:
    """The frame [H, W] beside itself with what speaks for a class in red and against it in blue; RGB."""
    pixels, shown = classifier.input(frame)
    device = classifier.classify.weight.device
    grid = (
        classifier.evidence(pixels[None].to(device), shown[None].to(device), label)[0].cpu().numpy()
    )
    inside = shown.numpy() > 0
    grid = grid[: inside.any(axis=1).sum(), : inside.any(axis=0).sum()]
    grid = grid / max(1e-9, float(np.abs(grid).max()))
    scale = 320 / max(frame.shape)
    size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
    small = cv2.cvtColor(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), cv2.COLOR_GRAY2RGB)
    heat = cv2.resize(grid, size, interpolation=cv2.INTER_LINEAR)[..., None]
    colour = np.where(heat > 0, (255, 60, 40), (50, 90, 255))
    strength = 0.6 * np.abs(heat)
    mixed = np.asarray(small * (1 - strength) + colour * strength, np.uint8)
    return np.concatenate([small, mixed], axis=1)


def left_out_of(texts: Sequence[str]) -> str:
    """What was left out, in one line."""
    return f"left out {len(texts)}: {texts[0]}" + (" …" if len(texts) > 1 else "")
