"""One competitor over all images, each image a line of JSON: what was cut off goes on.

OUT/<competitor>.jsonl    first a line that says what was run, then one an image
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ultrasam._version import __version__
from ultrasam.datasets.annotated_image import AnnotatedImage
from ultrasam.datasets.file_tree import Skip
from ultrasam.errors import EvaluationError, UltraSamError, one_line
from ultrasam.evaluation.metrics.masks import compare
from ultrasam.evaluation.models.registry import EvaluationModel
from ultrasam.evaluation.protocol import (
    TargetPrediction,
    PromptKind,
    Target,
    attempt,
    click_outside,
    targets_of,
)
from ultrasam.evaluation.sources import Collection, Unit
from ultrasam.files import atomic_write
from ultrasam.images.masks import encode_rle
from ultrasam.images.pixels import Frame, gray
from ultrasam.inference.segmenter import ScanLike, Segmenter
from ultrasam.progress import OnProgress, no_progress
from ultrasam.prompts import Prediction, Prompt


@dataclass(frozen=True, slots=True)
class Settings:
    """What makes two evaluations comparable.

    Attributes:
        prompts: kinds, as in `ultrasam.evaluation.protocol.PromptKind`.
        seed: of all randomness.
        tolerance_mm, tolerance_px: of the surface Dice, where the spacing is known and where it isn't.
    """

    prompts: tuple[str, ...] = ("box", "point")
    seed: int = 0
    tolerance_mm: float = 1.0
    tolerance_px: float = 2.0


class _Timed:
    """Adds up the time that a segmenter takes, so that the evaluation's own is known."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter, self.seconds = segmenter, 0.0

    def set_image(self, scan: ScanLike, *, frame: int = 0) -> None:
        start = time.perf_counter()
        self.segmenter.set_image(scan, frame=frame)
        self.seconds += time.perf_counter() - start

    def predict(self, prompts: Prompt | Sequence[Prompt]) -> Prediction:
        start = time.perf_counter()
        prediction = self.segmenter.predict(prompts)
        self.seconds += time.perf_counter() - start
        return prediction


def results_file(folder: Path, name: str) -> Path:
    """Where a competitor's results lie."""
    return folder / (re.sub(r"[^\w.+-]+", "_", name).strip("_") + ".jsonl")


def run(
    competitor: EvaluationModel,
    collections: Sequence[Collection],
    file: Path,
    *,
    settings: Settings,
    on_progress: OnProgress = no_progress,
) -> None:
    """Evaluate, or go on with what a cut-off evaluation left.

    An image that can't be read, or that the competitor fails on, becomes a line that says so. Kinds of
    prompts that the competitor can't use are left out.

    Raises:
        EvaluationError: the file holds results of other settings or weights; none of the prompts can be used.
    """
    kinds = [PromptKind.parse(name) for name in settings.prompts]
    kinds = [k for k in kinds if ("box" if k.start == "box" else "point") in competitor.accepts]
    if not kinds:
        raise EvaluationError(
            f"{competitor.name} takes {' and '.join(sorted(competitor.accepts))} prompts alone, and none of "
            f"them is among {', '.join(settings.prompts)}."
        )
    head = {
        "competitor": competitor.name,
        "version": __version__,
        "settings": asdict(settings) | {"prompts": [kind.name for kind in kinds]},
        **({"weights": competitor.weights} if competitor.weights else {}),
        **({"preprocessing": competitor.preprocessing} if competitor.preprocessing else {}),
    }
    done = _resume(file, head)
    timed = _Timed(competitor.segmenter)
    seen, total = 0, sum(len(collection.units) for collection in collections)
    with file.open("a", encoding="utf-8") as out:

        def write(line: dict[str, Any]) -> None:
            out.write(json.dumps(line, separators=(",", ":")) + "\n")
            out.flush()

        for collection in collections:
            for skip in collection.skips:
                if (collection.name, skip.where) not in done:
                    write(_failed(collection.name, skip.where, skip.reason))
            for unit in collection.units:
                # A still's name is its key; a clip or volume is read again for what it lacks.
                if (unit.dataset, unit.key) not in done:
                    for line in _lines(unit, timed, kinds, settings, done):
                        write(line)
                seen += 1
                on_progress(seen, total)


def _lines(
    unit: Unit,
    timed: _Timed,
    kinds: Sequence[PromptKind],
    settings: Settings,
    done: set[tuple[str, str]],
) -> Iterator[dict[str, Any]]:
    """One line an image of a unit that isn't done, with the time for reading, the model, and the rest."""
    start = time.perf_counter()
    for found in unit.read():
        if isinstance(found, Skip):
            if found.damage and (unit.dataset, found.where) not in done:
                yield _failed(unit.dataset, found.where, found.reason)
            continue
        if (unit.dataset, found.name) in done:
            continue
        pixels = gray(found.pixels)
        read = time.perf_counter()
        timed.seconds = 0.0
        try:
            line = _evaluated(unit.dataset, found, pixels, timed, kinds, settings)
        except UltraSamError as error:
            line = _failed(unit.dataset, found.name, str(error))
        except Exception as error:
            # Other people's code fails in its own ways; the other images must not pay for it.
            line = _failed(unit.dataset, found.name, f"{type(error).__name__}: {error}")
        now = time.perf_counter()
        line["seconds"] = {
            "reading": round(read - start, 5),
            "model": round(timed.seconds, 5),
            "evaluation": round(now - read - timed.seconds, 5),
        }
        yield line
        start = time.perf_counter()


def _failed(dataset: str, where: str, reason: str) -> dict[str, Any]:
    return {"dataset": dataset, "image": where, "error": one_line(reason, limit=None)}


def _evaluated(
    dataset: str,
    sample: AnnotatedImage,
    pixels: Frame,
    timed: _Timed,
    kinds: Sequence[PromptKind],
    settings: Settings,
) -> dict[str, Any]:
    targets = targets_of(sample, seed=settings.seed)
    if targets:
        timed.set_image(pixels)
    tries = {kind.name: attempt(timed, targets, kind) for kind in kinds}
    objects = [
        {
            "structure": target.structure,
            "area": int(np.count_nonzero(target.truth)),
            "truth": encode_rle(target.truth)["counts"],
            "misses": click_outside(target),
            "tries": {
                kind: _tried(attempts[number], target, sample, settings)
                for kind, attempts in tries.items()
            },
        }
        for number, target in enumerate(targets)
    ]
    return {
        "dataset": dataset,
        "image": sample.name,
        "subject": sample.subject,
        "size": list(sample.pixels.shape[:2]),
        "spacing": list(sample.spacing) if sample.spacing else None,
        "objects": objects,
    }


def _tried(
    tried: TargetPrediction, target: Target, sample: AnnotatedImage, settings: Settings
) -> dict[str, Any]:
    found = compare(
        tried.mask,
        target.truth,
        spacing=sample.spacing or (1.0, 1.0),
        tolerance=settings.tolerance_mm if sample.spacing else settings.tolerance_px,
    )
    return {
        # JSON has no NaN: null where a distance doesn't exist.
        **{k: None if math.isnan(v) else round(v, 5) for k, v in found.as_dict().items()},
        "predicted_iou": round(tried.predicted_iou, 5),
        "ious": [round(value, 5) for value in tried.ious],
        "mask": encode_rle(tried.mask)["counts"],
    }


def _resume(file: Path, head: dict[str, Any]) -> set[tuple[str, str]]:
    """What a file holds already; a line that was cut off is removed, a new file begun with its head."""
    if not file.exists():
        atomic_write(file, json.dumps(head) + "\n")
        return set()
    text = file.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if not whole:
        atomic_write(file, json.dumps(head) + "\n")
        return set()
    lines = whole.splitlines()
    if json.loads(lines[0]) != json.loads(json.dumps(head)):
        raise EvaluationError(
            f"{file} holds an evaluation of other weights, other settings or another version; choose "
            "another --out, or delete it."
        )
    if len(whole) < len(text):
        atomic_write(file, whole)
    return {(line["dataset"], line["image"]) for line in map(json.loads, lines[1:])}
