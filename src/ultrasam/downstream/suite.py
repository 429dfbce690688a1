"""A suite of fine-tunings: data sets × tasks × initializations, such as the paper's downstream tables."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ultrasam._version import __version__
from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.downstream.backbone import load_backbone, load_promptable
from ultrasam.downstream.classification.scores import NAMES, score
from ultrasam.downstream.classification.task import train_classifier
from ultrasam.downstream.images import check_classes, dataset_id, label_of
from ultrasam.downstream.instances.metrics import evaluate_instances
from ultrasam.downstream.instances.task import train_instance_segmenter
from ultrasam.downstream.regions.task import correct, train_region_classifier
from ultrasam.downstream.settings import (
    ClassifierSettings,
    InstanceSettings,
    RegionSettings,
)
from ultrasam.downstream.suite_recipe import TASKS, BenchmarkSuite
from ultrasam.downstream.targets import (
    Labels,
    classes_of,
    instance_targets,
    train_test_split,
)
from ultrasam.errors import DataError, UltraSamError
from ultrasam.evaluation.metrics.statistics import bootstrap_interval
from ultrasam.weights.adapters import count_parameters

logger = logging.getLogger(__name__)

# Names to value, low and high of the 95 % interval, None where there is none.
Figures = dict[str, tuple[float, float | None, float | None]]
Images = Sequence[AnnotatedImage]


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


def run(suite: BenchmarkSuite, datasets: Mapping[str, Images], out: Path) -> list[Cell]:
    """Run what the data and the weights allow; what was run before, with the same settings, is taken from
    ``out/results.jsonl``, which grows by a line per fine-tuning.

    Args:
        datasets: images by data set (see `ultrasam.downstream.images.open_datasets`).
    """
    names = [dataset_id(name) for name in suite.datasets] or sorted(datasets)
    out.mkdir(parents=True, exist_ok=True)
    log = out / "results.jsonl"
    known = dict(_read(log)) if log.exists() else {}
    cells = []
    for name in names:
        images = datasets.get(name, ())
        content_key = _content_key(images)
        for task, start in suite.runs():
            settings = getattr(suite, task)
            identity = [name, task, start.init, _changes(start.init), settings.model_dump(mode="json"),
                        suite.held_out, suite.labels, content_key, __version__]  # fmt: skip
            key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
            if key in known:
                cells.append(Cell(name, task, start.title, *known[key]))
                continue
            logger.info("%s, %s, %s", name, task, start.title)
            try:
                if not images:
                    raise DataError(f"{name} is not among the data.")
                train, test = train_test_split(images, suite.held_out)
                figures, counts = _RUN[task](settings, suite.labels, train, test, start.init)
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
    """Changes when weights on disk do: their files' names, sizes and times."""
    path = Path(init.partition(":")[2] or init)
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    found = [(f.name, f.stat()) for f in files if f.is_file()]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in found]


def _content_key(images: Images) -> str:
    """Changes when the data do: their names, subjects, splits and classes."""
    known = sorted(str((i.name, i.subject, i.split, i.class_label)) for i in images)
    return hashlib.sha256("\n".join(known).encode()).hexdigest()


def markdown(suite: BenchmarkSuite, cells: Sequence[Cell], command: str) -> str:
    """One table per task, rows by data set and initialisation; then what could not be run."""
    lines = [
        f"# {suite.title}\n",
        "Intervals are 95 %, by bootstrap over subjects. No subject is in both training and test data.\n",
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
            + " | ".join(names) + " |",
            "|" + "---|" * (len(names) + 5),
        ]  # fmt: skip
        for cell in done:
            values = " | ".join(_text(*cell.figures[name]) for name in names)
            lines.append(
                f"| {cell.dataset} | {cell.title} | {cell.counts['train']} | {cell.counts['test']} | "
                f"{cell.counts['trained']:,} of {cell.counts['parameters']:,} | {values} |"
            )
        lines.append("")
    missing = [cell for cell in cells if cell.missing]
    if missing:
        lines += [f"## Not run: {len(missing)}\n"]
        lines += [f"- {c.dataset}, {c.task}, {c.title}: {c.missing}" for c in missing]
    return "\n".join(lines).rstrip() + "\n"


def _classify(
    settings: ClassifierSettings, _labels: Labels, train: Images, test: Images, init: str
) -> tuple[Figures, dict[str, int]]:
    model = load_backbone(init, seed=settings.seed)
    train, test = ([i for i in side if i.class_label is not None] for side in (train, test))
    classes = sorted({label_of(image) for image in train})
    if len(classes) < 2 or not test:
        raise DataError(
            f"{len(train)} labeled images of {len(classes)} classes to train on and {len(test)} to test on "
            "are too few."
        )
    check_classes(train, test)
    classifier = train_classifier(model, train, classes, settings)
    truth = np.array([classes.index(label_of(image)) for image in test])
    found = classifier.predict(image.gray for image in test).double().numpy()
    scored = score(truth, found, [image.subject_key for image in test])
    figures: Figures = {n: (scored[n].value, scored[n].low, scored[n].high) for n in NAMES}
    return figures, {"train": len(train), "test": len(test), **_parameters(classifier)}


def _instances(
    settings: InstanceSettings, labels: Labels, train: Images, test: Images, init: str
) -> tuple[Figures, dict[str, int]]:
    model = load_backbone(init, seed=settings.seed)
    trained = instance_targets(train, labels=labels, keep_empty=True)
    tested = instance_targets(test, labels=labels, keep_empty=True)
    classes = classes_of(trained, tested)
    segmenter = train_instance_segmenter(model, trained, classes, settings)
    metrics = evaluate_instances(segmenter, tested)
    dice = metrics.per_image()
    scored = np.isfinite(dice)
    subjects = [target.subject for target, known in zip(tested, scored, strict=True) if known]
    figures: Figures = {
        "Dice": (float(dice[scored].mean()), *bootstrap_interval(dice[scored], subjects)),
        "mAP": (metrics.precision.ap, None, None),
        "AP50": (metrics.precision.ap50, None, None),
        "AP75": (metrics.precision.ap75, None, None),
    }
    return figures, {"train": len(trained), "test": len(tested), **_parameters(segmenter)}


def _regions(
    settings: RegionSettings, labels: Labels, train: Images, test: Images, init: str
) -> tuple[Figures, dict[str, int]]:
    model = load_promptable(init, seed=settings.seed)
    trained, tested = (instance_targets(side, labels=labels) for side in (train, test))
    classes_of(trained, tested)
    classifier = train_region_classifier(model, trained, settings)
    figures: Figures = {}
    for kind in ("box", "point"):
        right, subjects = correct(classifier, tested, kind)
        figures[f"accuracy, {kind}"] = (float(right.mean()), *bootstrap_interval(right, subjects))
    return figures, {"train": len(trained), "test": len(tested), **_parameters(classifier)}


_RUN: dict[str, Callable[..., tuple[Figures, dict[str, int]]]] = {
    "classify": _classify,
    "regions": _regions,
    "instances": _instances,
}


def _parameters(module: nn.Module) -> dict[str, int]:
    trained, frozen = count_parameters(module)
    return {"trained": trained, "parameters": trained + frozen}


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
