"""Train the model on what a project's readers have accepted, and go on with it if it is better.

Training is a process of its own, `ultrasam finetune promptable`, on an export of the project. A fifth of the
images is held out: the new weights take over only if their mean Dice from a box and from a click is higher
there.
"""

from __future__ import annotations

import csv
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ultrasam.annotate.coco_dataset import FILE
from ultrasam.annotate.exporting import ExportSettings, export_project
from ultrasam.annotate.jobs import CanceledError, Job
from ultrasam.annotate.project.project import Project
from ultrasam.annotate.scans import Scans
from ultrasam.annotate.segmentation import Segmentation
from ultrasam.errors import DataError, UltraSamError
from ultrasam.extras import require
from ultrasam.files import read_json, write_json
from ultrasam.images.masks import BoolMask, bounding_box, decode_rle, deepest_point
from ultrasam.images.reading import read_scan
from ultrasam.prompts import Prompt
from ultrasam.text import counted

logger = logging.getLogger(__name__)
LEAST_IMAGES = 10
_HELD_OUT = 0.2
_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How to train.

    Attributes:
        init: the weights to start from.
        steps: of the optimizer; None leaves it to the number of images.
        readers: whose masks; None takes all.
    """

    init: str
    steps: int | None = None
    readers: tuple[str, ...] | None = None


def train_on_project(
    project: Project,
    scans: Scans,
    segmentation: Segmentation,
    job: Job,
    settings: TrainSettings,
    *,
    out: Path,
    swap: Callable[[str], None],
) -> dict[str, Any]:
    """Export, hold out, train, compare, and swap if better.

    Args:
        out: folder for runs; each makes one of its own.
        swap: puts weights to use.

    Returns:
        ``dice`` of both on the held-out images, ``swapped``, ``model`` and ``curve``, and a sentence.

    Raises:
        DataError: There are too few images, or training failed.
        CanceledError: The user canceled the job; its result has the run's folder.
        MissingDependencyError: The extra 'train' is not installed.
    """
    require("Training", "lightning", "pydantic", "yaml", "pyarrow", extra="train")
    run = out / time.strftime("train-%Y%m%d-%H%M%S")
    job.progress(0, 1, "Exporting the accepted masks.")
    exported = export_project(
        project, scans, job, ExportSettings(("coco",), "accepted", settings.readers), out=run
    )
    folder = run / exported["name"]
    sets = sorted(folder.glob("coco*"))
    if len(sets) != 1:
        raise DataError("Several readers have accepted masks; say whose masks to train on.")
    held_out = _divide(sets[0])
    weights = run / "model"
    curve = _run(_command(sets[0], settings, weights), run, job)
    job.progress(1, 1, "Comparing on the held-out images.")
    images = _cases(held_out)
    before = _dice(segmentation.name, images)
    after = _dice(str(weights), images)
    swapped = after > before
    if swapped:
        swap(str(weights))
    verb = "is in use now" if swapped else "stays out of use; the earlier one goes on"
    return {
        "dice": {"before": round(before, 4), "after": round(after, 4)}, "held_out": len(images),
        "swapped": swapped, "model": str(weights), "curve": curve,
        "sentence": f"Dice on {counted(len(images), 'held-out image')}: {before:.3f} before, {after:.3f} "
        f"after training. The new model {verb}.",
    }  # fmt: skip


def _divide(folder: Path) -> Path:
    """Move a fifth of an exported data set to another one, ``held-out``; frames of one file stay together.

    Raises:
        DataError: There are too few images.
    """
    content = read_json(folder / FILE)
    annotated = {one["image_id"] for one in content["annotations"]}
    files = sorted({image["source"] for image in content["images"] if image["id"] in annotated})
    if len(files) < LEAST_IMAGES:
        raise DataError(
            f"{counted(len(files), 'image has', 'images have')} accepted masks; training needs at least "
            f"{LEAST_IMAGES}."
        )
    order = np.random.default_rng(0).permutation(len(files))
    apart = {files[i] for i in order[: max(1, round(_HELD_OUT * len(files)))]}
    other = folder.with_name("held-out")
    (other / "images").mkdir(parents=True)
    moved = [image for image in content["images"] if image["source"] in apart]
    for image in moved:
        (folder / "images" / image["file_name"]).rename(other / "images" / image["file_name"])
    ids = {image["id"] for image in moved}
    for place, inside in ((folder, False), (other, True)):
        part = {
            **content,
            "images": [one for one in content["images"] if (one["id"] in ids) is inside],
            "annotations": [
                one for one in content["annotations"] if (one["image_id"] in ids) is inside
            ],
        }
        write_json(place / FILE, part)
    return other


def _command(data: Path, settings: TrainSettings, out: Path) -> list[str]:
    changes = [] if settings.steps is None else [f"trainer.max_steps={settings.steps}"]
    return [
        sys.executable, "-m", "ultrasam", "finetune", "promptable", "--data", str(data / FILE),
        "--init", settings.init, "--out", str(out), *changes,
    ]  # fmt: skip


def _run(command: Sequence[str], run: Path, job: Job) -> list[dict[str, float]]:
    """Run a training process; returns its curve.

    Raises:
        DataError: It failed; the message is its last words.
        CanceledError: The user canceled the job.
    """
    run.mkdir(parents=True, exist_ok=True)
    log = run / "training.log"
    with log.open("wb") as opened:
        process = subprocess.Popen(
            command, stdout=opened, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
        try:
            while process.poll() is None:
                curve = _curve(run / "model")
                done = curve[-1]["step"] if curve else 0
                job.progress(
                    int(done), 0, f"Training: step {done}." if curve else "Training begins."
                )
                time.sleep(_POLL_S)
        except BaseException as error:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if isinstance(error, CanceledError):
                sentence = "Canceled; the earlier model goes on."
                raise CanceledError(
                    {"curve": _curve(run / "model"), "sentence": sentence}
                ) from error
            raise
    if process.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise DataError(f"Training failed: {lines[-1] if lines else 'it said nothing'}")
    return _curve(run / "model")


def _curve(folder: Path) -> list[dict[str, float]]:
    """What a run has logged so far: the step, and the losses and scores that were measured at it."""
    try:
        with (folder / "log" / "metrics.csv").open(newline="", encoding="utf-8") as opened:
            rows = list(csv.DictReader(opened))
    except OSError:
        return []
    return [{name: float(value) for name, value in row.items() if value} for row in rows]


def _cases(folder: Path) -> list[tuple[Path, list[BoolMask]]]:
    """The pictures of an exported data set that have masks, with these."""
    content = read_json(folder / FILE)
    masks: dict[int, list[BoolMask]] = {}
    for one in content["annotations"]:
        mask = decode_rle(one["segmentation"])
        if mask.any():
            masks.setdefault(one["image_id"], []).append(mask)
    return [
        (folder / "images" / image["file_name"], masks[image["id"]])
        for image in content["images"]
        if image["id"] in masks
    ]


def _dice(model: str, images: Sequence[tuple[Path, list[BoolMask]]]) -> float:
    """Mean Dice of a model from a box and from a click in the middle of each object."""
    from ultrasam.evaluation.metrics.masks import dice
    from ultrasam.inference.predictor import Predictor

    predictor = Predictor(model, tta=False)
    scores = []
    for path, masks in images:
        predictor.set_image(read_scan(path), frame=0)
        for mask in masks:
            for prompt in (Prompt(box=bounding_box(mask)), Prompt(points=[deepest_point(mask)])):
                try:
                    found = predictor.predict(prompt).best[0]
                except UltraSamError as error:  # a model that takes no clicks
                    logger.debug("%s", error)
                    continue
                scores.append(dice(found, mask))
    if not scores:
        raise DataError("No held-out image has a mask that could be compared.")
    return float(np.mean(scores))
