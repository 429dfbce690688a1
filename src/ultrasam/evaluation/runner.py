"""Evaluate one model on all images; an interrupted evaluation resumes.

Results go to OUT/<model>.jsonl: a header line with the model and settings, then one line per image.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np

from ultrasam._version import __version__
from ultrasam.datasets.file_tree import Skip
from ultrasam.errors import DiskFullError, EvaluationError, UltraSamError, one_line
from ultrasam.evaluation.absent import BorrowedBoxes
from ultrasam.evaluation.models.registry import EvaluationModel
from ultrasam.evaluation.prompt_types import PromptKind
from ultrasam.evaluation.records import EvaluationSettings, image_record
from ultrasam.evaluation.sources import EvaluationDataset, EvaluationItem
from ultrasam.files import atomic_write, is_disk_full, no_space
from ultrasam.images.pixels import gray
from ultrasam.inference.candidates import candidates
from ultrasam.inference.segmenter import ScanLike, Segmenter
from ultrasam.progress import OnProgress, no_progress
from ultrasam.prompts import Prediction, Prompt
from ultrasam.text import counted

logger = logging.getLogger(__name__)


class _TimedSegmenter:
    """Measures a segmenter's run time, to separate it from the cost of the evaluation itself.

    Attributes:
        seconds: for images and predictions.
        seconds_apart: for the candidates, which nobody asks for in use.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter, self.seconds, self.seconds_apart = segmenter, 0.0, 0.0

    def set_image(self, scan: ScanLike, *, frame: int = 0) -> None:
        start = time.perf_counter()
        self.segmenter.set_image(scan, frame=frame)
        self.seconds += time.perf_counter() - start

    def predict(self, prompts: Prompt | Sequence[Prompt]) -> Prediction:
        start = time.perf_counter()
        prediction = self.segmenter.predict(prompts)
        self.seconds += time.perf_counter() - start
        if np.isnan(prediction.predicted_iou).any():
            raise EvaluationError("The model's predicted IoU is not a number.")
        return prediction

    def candidates(self, prompts: Prompt | Sequence[Prompt]) -> Prediction | None:
        start = time.perf_counter()
        offered = candidates(self.segmenter, prompts)
        self.seconds_apart += time.perf_counter() - start
        return offered


def results_file(folder: Path, name: str) -> Path:
    """Path of a model's results."""
    return folder / (re.sub(r"[^\w.+-]+", "_", name).strip("_") + ".jsonl")


def accepted_kinds(model: EvaluationModel, prompts: Sequence[str]) -> list[PromptKind]:
    """The prompt types that a model accepts.

    Raises:
        EvaluationError: It accepts none of them, or one is unknown.
    """
    return kinds_for(model.name, model.accepts, prompts)


def kinds_for(name: str, accepts: frozenset[str], prompts: Sequence[str]) -> list[PromptKind]:
    """The same for a model that is not open yet."""
    kinds = [PromptKind.parse(kind) for kind in prompts]
    kinds = [kind for kind in kinds if kind.uses <= accepts]
    if not kinds:
        raise EvaluationError(
            f"{name} accepts only {' and '.join(sorted(accepts))} prompts; none of {', '.join(prompts)} "
            "applies."
        )
    return kinds


def run_evaluation(
    model: EvaluationModel,
    datasets: Sequence[EvaluationDataset],
    file: Path,
    *,
    settings: EvaluationSettings,
    on_progress: OnProgress = no_progress,
) -> frozenset[RecordKey]:
    """Evaluate a model, or resume an interrupted evaluation.

    The file may hold records of other images, of an evaluation with another split, limit or data set.

    Images that cannot be read, and images on which the model fails, are recorded with the error; images and
    annotations that a reader leaves out, with its reason. Prompt types that the model does not accept are
    skipped.

    Returns:
        The keys of the records that belong to these data sets.

    Raises:
        EvaluationError: The file contains results of other settings or weights, or of another data set of the
            same name; or the model accepts none of the prompt types.
        DiskFullError: The disk is full; what is done stays.
    """
    kinds = accepted_kinds(model, settings.prompts)
    header = {
        "model": model.name,
        "version": __version__,
        "settings": asdict(settings) | {"prompts": [kind.name for kind in kinds]},
        "trained_on": None if model.trained_on is None else sorted(model.trained_on),
        **({"weights": model.weights} if model.weights else {}),
        **({"preprocessing": model.preprocessing} if model.preprocessing else {}),
    }
    done = _resume(file, header, {data.name: data.place for data in datasets if data.place})
    if done:
        logger.debug(
            "%s has the results of %s; only others are made.", file, counted(len(done), "image")
        )
    seen: set[RecordKey] = set()
    timed, boxes = _TimedSegmenter(model.segmenter), BorrowedBoxes(datasets)
    count, total = 0, sum(len(dataset.items) for dataset in datasets)
    with _appending(file) as out:

        def write(record: dict[str, Any]) -> None:
            out.write(json.dumps(record, separators=(",", ":")) + "\n")
            out.flush()

        for dataset in datasets:
            for skip in dataset.skips:
                for record in _skip_records(dataset.name, skip, done, seen):
                    write(record)
            for item in dataset.items:
                # A still's name is its key; clips and volumes are read again to find missing frames.
                if (key := (item.dataset, item.key, "")) in done:
                    seen.add(key)
                else:
                    for record in _records(item, timed, kinds, settings, boxes, done, seen):
                        write(record)
                count += 1
                on_progress(count, total)
    return frozenset(seen)


@contextmanager
def _appending(file: Path) -> Iterator[IO[str]]:
    try:
        with file.open("a", encoding="utf-8") as out:
            yield out
    except DiskFullError:
        raise
    except OSError as error:  # also when what is buffered is written on closing
        raise no_space(file, error) if is_disk_full(error) else error from error


def _records(
    item: EvaluationItem,
    timed: _TimedSegmenter,
    kinds: Sequence[PromptKind],
    settings: EvaluationSettings,
    boxes: BorrowedBoxes,
    done: set[RecordKey],
    seen: set[RecordKey],
) -> Iterator[dict[str, Any]]:
    """One record per image that is not done, with the time for reading, the model, and the evaluation."""
    start = time.perf_counter()
    for image in item.read():
        if isinstance(image, Skip):
            yield from _skip_records(item.dataset, image, done, seen)
            continue
        seen.add((item.dataset, image.name, ""))
        if (item.dataset, image.name, "") in done:
            continue
        pixels = gray(image.pixels)
        read = time.perf_counter()
        timed.seconds = timed.seconds_apart = 0.0
        try:
            record = image_record(item.dataset, image, pixels, timed, kinds, settings, boxes)
        except UltraSamError as error:
            record = _error_record(item.dataset, image.name, str(error))
        except Exception as error:
            # A third-party model may raise anything; the remaining images are evaluated all the same.
            record = _error_record(item.dataset, image.name, f"{type(error).__name__}: {error}")
        now = time.perf_counter()
        record["seconds"] = {
            "reading": round(read - start, 5),
            "model": round(timed.seconds, 5),
            "evaluation": round(now - read - timed.seconds - timed.seconds_apart, 5),
        }
        yield record
        start = time.perf_counter()


def _skip_records(
    dataset: str, skip: Skip, done: set[RecordKey], seen: set[RecordKey]
) -> Iterator[dict[str, Any]]:
    """The record of an image or annotation that is left out, unless it is done; none for other files."""
    if skip.what == "file":
        return
    if skip.damage and skip.what == "image":
        record = _error_record(dataset, skip.where, skip.reason)
    else:
        reason = one_line(skip.reason, limit=None)
        record = {"dataset": dataset, "image": skip.where, "left_out": reason, "what": skip.what}
    key = record_key(record)
    seen.add(key)
    if key not in done:
        done.add(key)
        yield record


def _error_record(dataset: str, where: str, reason: str) -> dict[str, Any]:
    return {"dataset": dataset, "image": where, "error": one_line(reason, limit=None)}


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """How the results in a file differ from those that are to be added."""
    old, new = before.get("settings", {}), json.loads(json.dumps(now["settings"]))
    changed = [key for key in new if old.get(key) != new[key]]
    if not changed:
        return "other weights or another version of UltraSam"
    changes = (
        f"{key.replace('_', ' ')}: {_shown(old.get(key))} instead of {_shown(new[key])}"
        for key in changed
    )
    return f"other settings ({'; '.join(changes)})"


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


# Data set, name of the image, and why it was left out; the last is empty for an image that is not.
RecordKey = tuple[str, str, str]


def record_key(record: dict[str, Any]) -> RecordKey:
    """What a record is about."""
    return record["dataset"], record["image"], record.get("left_out", "")


def _resume(file: Path, header: dict[str, Any], places: dict[str, str]) -> set[RecordKey]:
    """Keys of the records already in a file.

    A truncated last line is removed; the header gets the places of data sets that are new to the file.
    """
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    complete = text[: text.rfind("\n") + 1]
    if not complete:
        atomic_write(file, json.dumps(header | {"data": places}) + "\n")
        return set()
    line, *lines = complete.splitlines()
    first = json.loads(line)
    before = first.pop("data", {})
    if first != json.loads(json.dumps(header)):
        raise EvaluationError(
            f"{file} contains results of {_difference(first, header)}; delete it or choose another --out."
        )
    for name, place in places.items():
        if before.get(name, place) != place:
            raise EvaluationError(
                f"{file} contains results of {name} in {before[name]}, not in {place}; choose another --out."
            )
    if len(complete) < len(text) or places.keys() - before.keys():
        new = json.dumps(header | {"data": before | places})
        atomic_write(file, "\n".join([new, *lines]) + "\n")
    return {record_key(record) for record in map(json.loads, lines)}
