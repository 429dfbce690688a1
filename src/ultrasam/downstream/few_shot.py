"""Few-shot fine-tuning: how good a model becomes on a new data set with 1, 2, 5, … annotated images.

Each model is fine-tuned on every draw of training images with the product's own training, and evaluated on
one fixed test set with the prompts of `ultrasam.evaluation`. An interrupted series continues.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

from ultrasam._version import __version__
from ultrasam.downstream.few_shot_data import FewShotData
from ultrasam.errors import DiskFullError, EvaluationError, InterruptedRunError, UltraSamError
from ultrasam.evaluation.models.registry import (
    EvaluationModel,
    check_trainable,
    open_evaluation_model,
)
from ultrasam.evaluation.records import EvaluationSettings
from ultrasam.evaluation.report.results import Results, read_results
from ultrasam.evaluation.runner import (
    accepted_kinds,
    results_file,
    run_evaluation,
)
from ultrasam.files import atomic_write
from ultrasam.progress import OnProgress, no_progress
from ultrasam.text import counted, duration
from ultrasam.training.custom import FEW_SHOT_STEPS, few_shot_recipe
from ultrasam.training.recipe import Recipe
from ultrasam.training.run_settings import on_device
from ultrasam.training.train import train
from ultrasam.weights.spec import ModelSpec

logger = logging.getLogger(__name__)

LOG = "few_shot.jsonl"
Progress = Callable[[str], AbstractContextManager[OnProgress]]


@dataclass(frozen=True, slots=True)
class FewShotSettings:
    """What to fine-tune and how to evaluate it.

    Attributes:
        evaluation: prompts and seed of the evaluation.
        shots: numbers of training images; the model without fine-tuning (0) always comes first.
        draws: draws of training images for each number.
        seed: of the draws and of training; the larger draws contain the smaller ones.
        steps: training steps of each fine-tuning.
        device: for training and evaluation; None for the default.
        workers: processes that read training images.
        keep_models: keep the fine-tuned models in the output folder.
    """

    evaluation: EvaluationSettings
    shots: tuple[int, ...] = (1, 2, 5, 10, 20, 30)
    draws: int = 3
    seed: int = 0
    steps: int = FEW_SHOT_STEPS
    device: str | None = None
    workers: int = 0
    keep_models: bool = False

    @property
    def training(self) -> str:
        """A sentence on how each model is trained."""
        return (
            f"Each fine-tuning takes {counted(self.steps, 'step')} with the settings of 'ultrasam finetune "
            "promptable', without validation images, and the last weights are evaluated; the seed is "
            f"{self.seed}, and one more for each draw."
        )


@dataclass(frozen=True, slots=True)
class FewShotRun:
    """One fine-tuning and its evaluation; without training images, the evaluation of the initial model.

    Attributes:
        images: names of the training images.
        results: file with one line per test image, relative to the output folder.
        seconds: time for training and for the evaluation.
    """

    key: str
    model: str
    dataset: str
    shots: int
    repeat: int
    images: tuple[str, ...]
    steps: int
    results: str
    seconds: dict[str, float]

    def read(self, folder: Path) -> Results:
        """The results on the test set."""
        return read_results(folder / self.results, name=self.model)


def run_few_shot(
    models: Sequence[str],
    datasets: Sequence[FewShotData],
    folder: Path,
    settings: FewShotSettings,
    *,
    progress: Progress = lambda _: nullcontext(no_progress),
) -> tuple[list[FewShotRun], list[str]]:
    """Fine-tune and evaluate every model on every data set and draw.

    A finished run adds a line to ``folder/few_shot.jsonl``; runs of the same model, images, prompts and
    settings are not repeated.

    Args:
        models: names of promptable models (see `ultrasam.evaluation.models.registry.check_trainable`).
        progress: opens a progress display for one training or evaluation, by its title.

    Returns:
        The runs, and a sentence for each one that failed. Numbers of images that a data set does not have are
        left out (see `too_many_shots`).

    Raises:
        EvaluationError: A model cannot be fine-tuned.
        InterruptedRunError: The user stopped the command; finished runs are kept.
        DiskFullError: The disk is full.
    """
    for model in models:
        check_trainable(model)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / LOG
    known = {run.key: run for run in _read(log) if (folder / run.results).is_file()}
    runs, missing = [], []
    for name in dict.fromkeys(models):
        initial = open_evaluation_model(name, device=settings.device)
        accepted_kinds(initial, settings.evaluation.prompts)
        for data in datasets:
            for shots, repeat in _plan(settings, most=len(data.pool)):
                title = f"{name}, {data.name}, {_images(shots, repeat)}"
                try:
                    images = data.draw(shots, seed=settings.seed, repeat=repeat)
                    key = _key(initial, data, images, repeat, settings)
                    run = known.get(key)
                    if run is None:
                        with progress(title) as on_progress:
                            run = _run(
                                key, initial, data, images, repeat, folder, settings, on_progress
                            )
                        _append(log, run)
                        logger.info("%s: %s.", title, _duration(run))
                except InterruptedRunError as error:
                    raise InterruptedRunError(
                        f"Interrupted in {title}; run the same command again to continue: finished runs are "
                        f"in {log}."
                    ) from error
                except DiskFullError:
                    raise
                except UltraSamError as error:
                    missing.append(f"{title}: {error}")
                    continue
                runs.append(run)
    return runs, missing


def too_many_shots(datasets: Sequence[FewShotData], settings: FewShotSettings) -> list[str]:
    """A sentence for each number of training images that a data set does not have."""
    return [
        f"{data.name}: {counted(shots, 'training image')} cannot be drawn from a pool of {len(data.pool):,}."
        for data in datasets
        for shots in sorted(set(settings.shots))
        if shots > len(data.pool)
    ]


def _plan(settings: FewShotSettings, *, most: int) -> Iterator[tuple[int, int]]:
    """Number of images, at most ``most``, and number of the draw of each run; one without images."""
    yield 0, 0
    for shots in sorted(set(settings.shots) - {0}):
        for repeat in range(settings.draws if shots <= most else 0):
            yield shots, repeat


def _images(shots: int, repeat: int) -> str:
    if not shots:
        return "without fine-tuning"
    return f"{counted(shots, 'training image')}, draw {repeat + 1}"


def _key(
    model: EvaluationModel,
    data: FewShotData,
    images: Sequence[str],
    repeat: int,
    settings: FewShotSettings,
) -> str:
    """A hash of all that a run's results depend on."""
    identity = [
        model.name, model.weights, model.preprocessing, data.name, data.place, repeat,
        list(images), data.content_hash(images), asdict(settings.evaluation), __version__,
        *((settings.seed, settings.steps) if images else ()),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]


def _run(
    key: str,
    initial: EvaluationModel,
    data: FewShotData,
    images: Sequence[str],
    repeat: int,
    folder: Path,
    settings: FewShotSettings,
    on_progress: OnProgress,
) -> FewShotRun:
    """Fine-tune a model on some images, and evaluate it; without images, evaluate the model itself."""
    title = f"{initial.name}-{data.name}-{len(images)}-{repeat + 1}-{key[:6]}"
    file = results_file(folder / "results", title)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)  # of an interrupted run, whose weights may have been others
    place = folder / "models" / file.stem
    model, start = initial, time.perf_counter()
    if images:
        shutil.rmtree(
            place, ignore_errors=True
        )  # training is short: an interrupted one begins again
        recipe = _recipe(initial, data, images, repeat, place, settings)
        with _quiet():
            trained = train(recipe, on_progress=on_progress)
        model = open_evaluation_model(f"{trained}{_options(initial.name)}", device=settings.device)
    middle = time.perf_counter()
    run_evaluation(
        model, [data.test_set()], file, settings=settings.evaluation, on_progress=on_progress
    )
    seconds = {"training": middle - start, "evaluation": time.perf_counter() - middle}
    if not settings.keep_models:
        shutil.rmtree(place, ignore_errors=True)
    return FewShotRun(
        key, initial.name, data.name, len(images), repeat, tuple(images),
        settings.steps if images else 0, file.relative_to(folder).as_posix(),
        {name: round(value, 2) for name, value in seconds.items()},
    )  # fmt: skip


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what a single training reports from the log; its folder does not outlast it."""
    log = logging.getLogger("ultrasam.training")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)


def _recipe(
    initial: EvaluationModel,
    data: FewShotData,
    images: Sequence[str],
    repeat: int,
    place: Path,
    settings: FewShotSettings,
) -> Recipe:
    recipe = few_shot_recipe(
        data.store.root, data.dataset, images, init=initial.name, steps=settings.steps
    )
    trainer = recipe.trainer.model_copy(update={"workers": settings.workers})
    changes = {
        "output": place.parent, "name": place.name, "seed": settings.seed + repeat, "trainer": trainer,
    }  # fmt: skip
    return on_device(recipe.model_copy(update=changes), settings.device)


def _options(name: str) -> str:
    """The options of a model that its fine-tuned weights do not contain, such as ``+refine``."""
    spec = ModelSpec.parse(name)
    precision = {"float32": "+fp32", "bfloat16": "+bf16", "auto": "+auto", None: ""}[spec.precision]
    return f"{precision}{'+refine' if spec.refine else ''}{'' if spec.tta else '+no-tta'}"


def _duration(run: FewShotRun) -> str:
    parts = [f"{name} took {duration(value)}" for name, value in run.seconds.items() if value]
    return ", ".join(parts)


def _append(log: Path, run: FewShotRun) -> None:
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(run)) + "\n")


def _read(log: Path) -> Iterator[FewShotRun]:
    """The finished runs in a log; a line that is cut off is removed.

    Raises:
        EvaluationError: The file is not a log of few-shot runs.
    """
    text = log.read_text(encoding="utf-8") if log.exists() else ""
    complete = text[: text.rfind("\n") + 1]
    if len(complete) < len(text):
        atomic_write(log, complete)
    for line in complete.splitlines():
        try:
            entry = json.loads(line)
            yield FewShotRun(**{**entry, "images": tuple(entry["images"])})
        except (ValueError, TypeError, KeyError) as error:
            raise EvaluationError(
                f"{log} is of another version of UltraSam, or another file; choose another --out."
            ) from error
