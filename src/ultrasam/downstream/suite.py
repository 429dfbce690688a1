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
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import nn

from ultrasam import __version__
from ultrasam.data.catalogue import dataset
from ultrasam.data.samples import Sample
from ultrasam.downstream import fitting, instance_training
from ultrasam.downstream import prompted as prompting
from ultrasam.downstream.annotated import Labels, annotated_of, classes_of, two_sides
from ultrasam.downstream.initial import initial_model, prompted_model
from ultrasam.downstream.instance_report import judge
from ultrasam.downstream.labelled import check_apart, labelled_of
from ultrasam.downstream.scores import NAMES, score
from ultrasam.errors import DataError, RecipeError, UltraSamError
from ultrasam.evaluation.statistics import bootstrap_interval
from ultrasam.model.adapters import count_parameters

TASKS = ("classify", "prompted", "segment")
# Names to value, low and high of the 95 % interval, None where there is none.
Figures = dict[str, tuple[float, float | None, float | None]]
_SOURCE = "arXiv 2411.16222, downstream tables"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Start(_Section):
    """One row: what it is called, and what it starts from (see `ultrasam.downstream.initial`).

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


def load_suite(path: Path, overrides: dict[str, Any]) -> Suite:
    """Read and check a suite; ``overrides`` are merged into it.

    Raises:
        RecipeError: missing, not YAML, an unknown key or task, or two rows of one title.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        for key, value in overrides.items():
            inner = isinstance(value, dict) and isinstance(content.get(key), dict)
            content[key] = {**content[key], **value} if inner else value
        suite = Suite.model_validate(content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError, TypeError) as error:
        text = " ".join(str(error).split())
        raise RecipeError(f"{path} can't be read as a suite: {text}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecipeError(f"{path}: {where or 'the file'}: {first['msg']}.") from error
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
        for task in TASKS:
            settings = getattr(suite, task)
            if settings is None:
                continue
            for start in suite.initialisations:
                if start.tasks and task not in start.tasks:
                    continue
                said = [name, task, start.init, settings.model_dump(mode="json"), suite.held_out,
                        suite.labels, len(by_set.get(name, [])), __version__]  # fmt: skip
                key = hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]
                if key in known:
                    cells.append(Cell(name, task, start.title, *known[key]))
                    continue
                say(f"{name}, {task}, {start.title}")
                try:
                    if name not in by_set:
                        raise DataError(f"{name} is not among the data.")
                    figures, counts = _ONE[task](suite, by_set[name], start.init, device)
                except UltraSamError as error:
                    cells.append(Cell(name, task, start.title, {}, {}, str(error)))
                    continue
                line = {"key": key, "dataset": name, "task": task, "title": start.title,
                        "init": start.init, "figures": figures, "counts": counts}  # fmt: skip
                with log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
                cells.append(Cell(name, task, start.title, figures, counts))
    return cells


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
    suite: Suite, samples: Sequence[Sample], init: str, device: str
) -> tuple[Figures, dict[str, int]]:
    assert suite.classify is not None
    model = initial_model(init, seed=suite.classify.seed)
    train, test = (labelled_of(side) for side in two_sides(samples, suite.held_out))
    classes = sorted({item.label for item in train})
    if len(classes) < 2 or not test:
        raise DataError(
            f"{len(train)} labelled images of {len(classes)} classes to train on and {len(test)} to test on "
            "are too few."
        )
    check_apart(train, test)
    classifier = fitting.fit(model, train, classes, suite.classify, device=device)
    truth = np.array([classes.index(item.label) for item in test])
    found = classifier.predict(item.read() for item in test).double().numpy()
    scored = score(truth, found, [item.subject for item in test])
    figures: Figures = {n: (scored[n].value, scored[n].low, scored[n].high) for n in NAMES}
    return figures, {"train": len(train), "test": len(test), **_parameters(classifier)}


def _segment(
    suite: Suite, samples: Sequence[Sample], init: str, device: str
) -> tuple[Figures, dict[str, int]]:
    assert suite.segment is not None
    model = initial_model(init, seed=suite.segment.seed)
    train, test = (
        annotated_of(side, labels=suite.labels, empty=True)
        for side in two_sides(samples, suite.held_out)
    )
    classes = classes_of(train, test)
    segmenter = instance_training.fit(model, train, classes, suite.segment, device=device)
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
    suite: Suite, samples: Sequence[Sample], init: str, device: str
) -> tuple[Figures, dict[str, int]]:
    assert suite.prompted is not None
    model = prompted_model(init, seed=suite.prompted.seed)
    train, test = (
        annotated_of(side, labels=suite.labels) for side in two_sides(samples, suite.held_out)
    )
    classes_of(train, test)
    classifier = prompting.fit(model, train, suite.prompted, device=device)
    figures: Figures = {}
    for kind in ("box", "point"):
        right, subjects = prompting.right(classifier, test, kind)
        low, high = bootstrap_interval(right, subjects)
        figures[f"accuracy, {kind}"] = (float(right.mean()), low, high)
    return figures, {"train": len(train), "test": len(test), **_parameters(classifier)}


_ONE = {"classify": _classify, "prompted": _prompted, "segment": _segment}


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
