"""Benchmark initializations: fine-tune on data sets × tasks × initializations, as in the paper's tables."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ultrasam._version import __version__
from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.datasets.catalogue import dataset_id
from ultrasam.downstream.backbone import load_backbone, load_promptable
from ultrasam.downstream.class_files import label_of
from ultrasam.downstream.classification.scores import ScoreInterval, score
from ultrasam.downstream.classification.task import train_classifier
from ultrasam.downstream.images import check_classes
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
from ultrasam.errors import DataError, InterruptedRunError, UltraSamError
from ultrasam.evaluation.metrics.statistics import Estimate
from ultrasam.reporting.markdown import escape
from ultrasam.reporting.tables import Table, bullet_list, number, number_json, with_interval
from ultrasam.training.engine import is_first_process
from ultrasam.weights.adapters import count_parameters

logger = logging.getLogger(__name__)

# Metric name to value, and low and high of its 95 % interval (None if it has none).
Figures = dict[str, tuple[float, float | None, float | None]]
Images = Sequence[AnnotatedImage]


@dataclass(frozen=True, slots=True)
class Cell:
    """The result of one fine-tuning.

    Attributes:
        figures: metrics; empty if it could not be run.
        counts: number of training and test images, and of trained and all parameters.
        missing: why it could not be run, in one sentence; otherwise None.
    """

    dataset: str
    task: str
    title: str
    figures: Figures
    counts: dict[str, int]
    missing: str | None = None

    def to_json(self) -> dict[str, Any]:
        """All that is known of it; null for what is undefined."""
        figures = {name: number_json(*values) for name, values in self.figures.items()}
        return {**asdict(self), "figures": figures}


def run(suite: BenchmarkSuite, datasets: Mapping[str, Images], out: Path) -> list[Cell]:
    """Run all fine-tunings for which data and weights are available.

    Results are appended to ``out/results.jsonl``; results of the same settings, data and weights are reused.

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
                    raise DataError(f"Data set '{name}' is not in the data.")
                train, test = train_test_split(images, suite.held_out)
                figures, counts = _RUN[task](settings, suite.labels, train, test, start.init)
            except InterruptedRunError as error:
                raise InterruptedRunError(
                    f"Interrupted in {name}, {task}, {start.title}; run the same command again to continue: "
                    f"results so far are in {log}."
                ) from error
            except UltraSamError as error:
                cells.append(Cell(name, task, start.title, {}, {}, str(error)))
                continue
            line = {"key": key, "dataset": name, "task": task, "title": start.title,
                    "init": start.init, "figures": figures, "counts": counts}  # fmt: skip
            if is_first_process():
                with log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
            cells.append(Cell(name, task, start.title, figures, counts))
    return cells


def _changes(init: str) -> list[tuple[str, int, int]]:
    """Names, sizes and times of weight files on disk, to detect changes."""
    path = Path(init.partition(":")[2] or init)
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    found = [(f.name, f.stat()) for f in files if f.is_file()]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in found]


def _content_key(images: Images) -> str:
    """Hash of the names, subjects, splits and classes of images, to detect changes."""
    known = sorted(str((i.name, i.subject, i.split, i.class_label)) for i in images)
    return hashlib.sha256("\n".join(known).encode()).hexdigest()


def markdown(suite: BenchmarkSuite, cells: Sequence[Cell], command: str) -> str:
    """The report in Markdown: a table per task, then the fine-tunings that could not be run."""
    parts = [
        f"# {escape(suite.title)}\n",
        "Intervals are 95 % bootstrap intervals over subjects. No subject is in both training and test "
        "data.\n",
        f"```sh\n{command}\n```\n",
    ]
    for task in TASKS:
        done = [cell for cell in cells if cell.task == task and not cell.missing]
        if done:
            parts.append(_task_table(task, done).markdown(level=2))
    missing = [escape(f"{c.dataset}, {c.task}, {c.title}: {c.missing}") for c in cells if c.missing]
    if missing:
        parts.append(bullet_list("Not run", missing))
    return "\n".join(parts)


def _task_table(task: str, cells: Sequence[Cell]) -> Table:
    names = list(cells[0].figures)
    rows = tuple(
        (
            cell.dataset,
            cell.title,
            str(cell.counts["train"]),
            str(cell.counts["test"]),
            f"{cell.counts['trained']:,} of {cell.counts['parameters']:,}",
            *(_score_cell(*cell.figures[name]) for name in names),
        )
        for cell in cells
    )
    head = (
        "data set",
        "initialization",
        "training images",
        "test images",
        "trained parameters",
        *names,
    )
    return Table(task, head, rows)


def _classify(
    settings: ClassifierSettings, _labels: Labels, train: Images, test: Images, init: str
) -> tuple[Figures, dict[str, int]]:
    model = load_backbone(init, seed=settings.seed)
    train, test = ([i for i in split if i.class_label is not None] for split in (train, test))
    classes = sorted({label_of(image) for image in train})
    if len(classes) < 2 or not test:
        raise DataError(
            f"Too few labeled images: {len(train)} of {len(classes)} classes for training, {len(test)} for "
            "testing."
        )
    check_classes(train, test)
    classifier = train_classifier(model, train, classes, settings)
    truth = np.array([classes.index(label_of(image)) for image in test])
    probabilities = classifier.predict(image.gray for image in test).double().numpy()
    scored = score(truth, probabilities, [image.subject_key for image in test])
    return _figures(scored), {"train": len(train), "test": len(test), **_parameters(classifier)}


def _instances(
    settings: InstanceSettings, labels: Labels, train: Images, test: Images, init: str
) -> tuple[Figures, dict[str, int]]:
    model = load_backbone(init, seed=settings.seed)
    trained = instance_targets(train, labels=labels, keep_empty=True)
    tested = instance_targets(test, labels=labels, keep_empty=True)
    classes = classes_of(trained, tested)
    segmenter = train_instance_segmenter(model, trained, classes, settings)
    found = evaluate_instances(segmenter, tested).figures([target.subject for target in tested])
    return _figures(found), {"train": len(trained), "test": len(tested), **_parameters(segmenter)}


def _regions(
    settings: RegionSettings, labels: Labels, train: Images, test: Images, init: str
) -> tuple[Figures, dict[str, int]]:
    model = load_promptable(init, seed=settings.seed)
    trained, tested = (instance_targets(split, labels=labels) for split in (train, test))
    classes_of(trained, tested)
    classifier = train_region_classifier(model, trained, settings)
    found = {
        f"accuracy, {kind}": Estimate.of_mean(*correct(classifier, tested, kind))
        for kind in ("box", "point")
    }
    return _figures(found), {"train": len(trained), "test": len(tested), **_parameters(classifier)}


def _figures(found: Mapping[str, Estimate] | Mapping[str, ScoreInterval]) -> Figures:
    return {
        name: (one.value, *((None, None) if np.isnan(one.low) else (one.low, one.high)))
        for name, one in found.items()
    }


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
            continue  # truncated when a run was killed
        figures = {name: tuple(value) for name, value in entry["figures"].items()}
        yield entry["key"], (figures, entry["counts"])


def _score_cell(value: float, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return number(value)
    return with_interval(value, low, high)
