"""A suite of fine-tunings: data sets × tasks × initialisations, such as the paper's downstream tables."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from ultrasam._version import __version__
from ultrasam.datasets.annotated_image import Sample
from ultrasam.datasets.catalogue import dataset
from ultrasam.downstream import fitting, instance_training
from ultrasam.downstream import prompted as prompting
from ultrasam.downstream.annotated import Labels, annotated_of, classes_of, two_sides
from ultrasam.downstream.backbone import load_backbone, load_promptable
from ultrasam.downstream.instance_report import judge
from ultrasam.downstream.labelled import check_apart, labelled_of
from ultrasam.downstream.scores import NAMES, score
from ultrasam.errors import DataError, RecipeError, UltraSamError
from ultrasam.evaluation.metrics.statistics import bootstrap_interval
from ultrasam.evaluation.suite import read_checked
from ultrasam.training.recipe import over
from ultrasam.weights.adapters import count_parameters

TASKS = ("classify", "prompted", "segment")
# Names to value, low and high of the 95 % interval, None where there is none.
Figures = dict[str, tuple[float, float | None, float | None]]
_SOURCE = "arXiv 2411.16222, downstream tables"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Start(_Section):
    """One row: what it is called, and what it starts from (see `ultrasam.load`).

    Attributes:
        tasks: all that the suite has where there are none.
    """

    title: str
    init: str
    tasks: tuple[str, ...] = ()


class Suite(_Section):
    """A suite.

    Attributes:
        datasets: by their names; all of ``--data`` where there are none.
        held_out: share of the subjects that are tested where a source has no test side.
        labels: where an object's class stands: in its structure, or its image.
        classify, prompted, segment: settings of the tasks; a task without is left out.
    """

    title: str
    datasets: tuple[str, ...] = ()
    held_out: float = Field(0.2, gt=0, lt=1)
    labels: Labels = "image"
    initialisations: tuple[Start, ...]
    classify: fitting.Settings | None = None
    prompted: prompting.Settings | None = None
    segment: instance_training.Settings | None = None

    def plan(self) -> Iterator[tuple[str, Start]]:
        """The tasks that there are settings for, each with the initialisations that take it."""
        for task in TASKS:
            if getattr(self, task) is not None:
                for start in self.initialisations:
                    if not start.tasks or task in start.tasks:
                        yield task, start


def load_suite(path: Path, overrides: dict[str, Any]) -> Suite:
    """Read and check a suite; ``overrides`` are merged into it.

    Raises:
        RecipeError: missing, not YAML, an unknown key or task, or two rows of one title.
    """
    suite = read_checked(
        Suite, path, wrong=RecipeError, change=lambda content: over(content, overrides)
    )
    titles = [start.title for start in suite.initialisations]
    if len(set(titles)) < len(titles) or not titles:
        raise RecipeError(f"{path}: every initialisation needs a title of its own.")
    unknown = {task for start in suite.initialisations for task in start.tasks} - set(TASKS)
    if unknown:
        raise RecipeError(
            f"{path}: there is no task '{min(unknown)}'; there are {', '.join(TASKS)}."
        )
    if not any(getattr(suite, task) for task in TASKS):
        raise RecipeError(f"{path} has no task; give it {', '.join(TASKS)}.")
    return suite


@dataclass(frozen=True, slots=True)
class Cell:
    """One fine-tuning and what came of it.

    Attributes:
        figures: empty where ``missing`` says, in one sentence, why it could not be run.
        counts: images or objects trained on and tested, trained parameters and all.
    """

    dataset: str
    task: str
    title: str
    figures: Figures
    counts: dict[str, int]
    missing: str | None = None


def run(
    suite: Suite,
    samples: Sequence[Sample],
    out: Path,
    *,
    device: str = "cpu",
    say: Callable[[str], object] = lambda _: None,
) -> list[Cell]:
    """Run what the data and the weights allow; what was run before, with the same settings, is taken from
    ``out/results.jsonl``, which grows by a line a fine-tuning."""
    by_set: dict[str, list[Sample]] = {}
    for sample in samples:
        by_set.setdefault(sample.dataset, []).append(sample)
    names = [_id(name) for name in suite.datasets] or sorted(by_set)
    out.mkdir(parents=True, exist_ok=True)
    log = out / "results.jsonl"
    known = dict(_read(log)) if log.exists() else {}
    cells = []
    for name in names:
        held = by_set.get(name, [])
        sides = two_sides(held, suite.held_out)
        for task, start in suite.plan():
            settings = getattr(suite, task)
            said = [name, task, start.init, _changes(start.init), settings.model_dump(mode="json"),
                    suite.held_out, suite.labels, _what(held), __version__]  # fmt: skip
            key = hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]
            if key in known:
                cells.append(Cell(name, task, start.title, *known[key]))
                continue
            say(f"{name}, {task}, {start.title}")
            try:
                if not held:
                    raise DataError(f"{name} is not among the data.")
                figures, counts = _ONE[task](settings, suite.labels, *sides, start.init, device)
            except UltraSamError as error:
                cells.append(Cell(name, task, start.title, {}, {}, str(error)))
                continue
            line = {"key": key, "dataset": name, "task": task, "title": start.title,
                    "init": start.init, "figures": figures, "counts": counts}  # fmt: skip
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            cells.append(Cell(name, task, start.title, figures, counts))
    return cells


def _changes(init: str) -> list[tuple[str, int, int]]:
    """What tells whether weights on disk are still those that were used: their files' sizes and times."""
    path = Path(init.partition(":")[2] or init)
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    found = [(f.name, f.stat()) for f in files if f.is_file()]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in found]


def _what(samples: Sequence[Sample]) -> str:
    """What tells whether data are still the same: names, subjects, sides and classes."""
    known = sorted(str((s.name, s.subject, s.split, s.class_label)) for s in samples)
    return hashlib.sha256("\n".join(known).encode()).hexdigest()


def markdown(suite: Suite, cells: Sequence[Cell], command: str) -> str:
    """A table a task, rows by data set and initialisation; then what could not be run."""
    lines = [
        f"# {suite.title}\n",
        "Intervals are 95 %, by bootstrap over subjects. The paper splits at random by image, so that images "
        "of one subject stand on both sides; here subjects stay on one, and figures are not the same thing. "
        f"Its figures ({_SOURCE}) could not be verified and are left empty.\n",
        f"```sh\n{command}\n```\n",
    ]
    for task in TASKS:
        done = [cell for cell in cells if cell.task == task and not cell.missing]
        if not done:
            continue
        names = list(done[0].figures)
        lines += [
            f"## {task}\n",
            "| data set | initialisation | trained on | tested on | trained parameters | "
            + " | ".join(names) + " | the paper's |",
            "|" + "---|" * (len(names) + 6),
        ]  # fmt: skip
        for cell in done:
            values = " | ".join(_text(*cell.figures[name]) for name in names)
            lines.append(
                f"| {cell.dataset} | {cell.title} | {cell.counts['train']} | {cell.counts['test']} | "
                f"{cell.counts['trained']:,} of {cell.counts['parameters']:,} | {values} | – |"
            )
        lines.append("")
    missing = [cell for cell in cells if cell.missing]
    if missing:
        lines += [f"## Not run: {len(missing)}\n"]
        lines += [f"- {c.dataset}, {c.task}, {c.title}: {c.missing}" for c in missing]
    return "\n".join(lines).rstrip() + "\n"


def _classify(
    settings: fitting.Settings,
    _labels: Labels,
    train_side: Sequence[Sample],
    test_side: Sequence[Sample],
    init: str,
    device: str,
) -> tuple[Figures, dict[str, int]]:
    model = load_backbone(init, seed=settings.seed)
    train, test = labelled_of(train_side), labelled_of(test_side)
    classes = sorted({item.label for item in train})
    if len(classes) < 2 or not test:
        raise DataError(
            f"{len(train)} labelled images of {len(classes)} classes to train on and {len(test)} to test on "
            "are too few."
        )
    check_apart(train, test)
    classifier = fitting.fit(model, train, classes, settings, device=device)
    truth = np.array([classes.index(item.label) for item in test])
    found = classifier.predict(item.read() for item in test).double().numpy()
    scored = score(truth, found, [item.subject for item in test])
    figures: Figures = {n: (scored[n].value, scored[n].low, scored[n].high) for n in NAMES}
    return figures, {"train": len(train), "test": len(test), **_parameters(classifier)}


def _segment(
    settings: instance_training.Settings,
    labels: Labels,
    train_side: Sequence[Sample],
    test_side: Sequence[Sample],
    init: str,
    device: str,
) -> tuple[Figures, dict[str, int]]:
    model = load_backbone(init, seed=settings.seed)
    train = annotated_of(train_side, labels=labels, empty=True)
    test = annotated_of(test_side, labels=labels, empty=True)
    classes = classes_of(train, test)
    segmenter = instance_training.fit(model, train, classes, settings, device=device)
    judged = judge(segmenter, test)
    dice = judged.per_image()
    seen = np.isfinite(dice)
    subjects = [image.subject for image, known in zip(test, seen, strict=True) if known]
    figures: Figures = {
        "Dice": (float(dice[seen].mean()), *bootstrap_interval(dice[seen], subjects)),
        "mAP": (judged.precision.ap, None, None),
        "AP50": (judged.precision.ap50, None, None),
        "AP75": (judged.precision.ap75, None, None),
    }
    return figures, {"train": len(train), "test": len(test), **_parameters(segmenter)}


def _prompted(
    settings: prompting.Settings,
    labels: Labels,
    train_side: Sequence[Sample],
    test_side: Sequence[Sample],
    init: str,
    device: str,
) -> tuple[Figures, dict[str, int]]:
    model = load_promptable(init, seed=settings.seed)
    train, test = annotated_of(train_side, labels=labels), annotated_of(test_side, labels=labels)
    classes_of(train, test)
    classifier = prompting.fit(model, train, settings, device=device)
    figures: Figures = {}
    for kind in ("box", "point"):
        right, subjects = prompting.right(classifier, test, kind)
        figures[f"accuracy, {kind}"] = (float(right.mean()), *bootstrap_interval(right, subjects))
    return figures, {"train": len(train), "test": len(test), **_parameters(classifier)}


_ONE: dict[str, Callable[..., tuple[Figures, dict[str, int]]]] = {
    "classify": _classify,
    "prompted": _prompted,
    "segment": _segment,
}


def _parameters(module: nn.Module) -> dict[str, int]:
    trained, frozen = count_parameters(module)
    return {"trained": trained, "parameters": trained + frozen}


def _id(name: str) -> str:
    try:
        return dataset(name).info.id
    except DataError:
        return name  # a folder of one's own


def _read(log: Path) -> Iterator[tuple[str, tuple[dict[str, Any], dict[str, int]]]]:
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # a line that a kill cut short
        figures = {name: tuple(value) for name, value in entry["figures"].items()}
        yield entry["key"], (figures, entry["counts"])


def _text(value: float, low: float | None, high: float | None) -> str:
    if not math.isfinite(value):
        return "–"
    return f"{value:.3f}" if low is None else f"{value:.3f} [{low:.3f}, {high:.3f}]"
