"""What is done with the files of a shard: each task opens its model once and gives rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultrasam.cluster.job import Job
from ultrasam.cluster.manifest import Shard
from ultrasam.cluster.rows import (
    CLASSES,
    FEATURES,
    MASKS,
    MEASUREMENTS,
    Row,
    measured,
    rows_of_classes,
    rows_of_features,
    rows_of_masks,
)
from ultrasam.images.writing.formats import MaskFormat
from ultrasam.images.writing.segmentation import Provenance
from ultrasam.inference.batch import predict_files
from ultrasam.inference.exports import BY_FRAME, Exports
from ultrasam.inference.predictor import Predictor
from ultrasam.inference.processing import FileResult, Finish, Pipeline
from ultrasam.inference.provenance import provenance_of
from ultrasam.weights.load import load, load_model

if TYPE_CHECKING:
    import polars as pl

    from ultrasam.images.scan import Scan

AHEAD = 2  # frames that wait between two steps


@dataclass(frozen=True, slots=True)
class OpenTask:
    """A task with its model.

    Attributes:
        schema: of the rows.
        rows: the rows of a shard, frame by frame. It gets the shard, the folder for further files, what opens
            files, whether steps may overlap, and what tells that work goes on between two rows.
    """

    schema: pl.Schema
    rows: Callable[
        [Shard, Path, Callable[[Path], AbstractContextManager[Scan]], bool, Callable[[], None]],
        Iterator[list[Row]],
    ]


def open_task(job: Job) -> OpenTask:
    """Open a job's model.

    Raises:
        CheckpointError, ConfigError, DeviceError: The model cannot be loaded so.
    """
    if job.task == "features":
        return _features(job)
    if job.task == "classes":
        return _classes(job)
    if job.task == "tracks":
        from ultrasam.cluster.tracks import track_rows

        return OpenTask(MASKS, track_rows(job))
    if job.task == "measurements":
        from ultrasam.cluster.measurements import measurement_rows

        return OpenTask(MEASUREMENTS, measurement_rows(job))
    return OpenTask(MASKS, partial(_mask_rows, job, *_masks(job)))


_Files = Callable[..., Iterator[FileResult]]


def _masks(job: Job) -> tuple[_Files, Provenance]:
    """What segments the files of a shard, and what made its masks."""
    if job.task == "instances":
        from ultrasam.downstream.instances.predict import find_files

        finder = load(job.model, device=job.device)
        made = _made(job, finder)
        return partial(find_files, finder, score=job.min_score), made
    if job.task == "automatic":
        from ultrasam.inference.automatic_files import segment_files

        network = Predictor(job.model, tta=False, device=job.device, precision=job.precision)
        return partial(segment_files, network), _made(job, network)
    from ultrasam.weights.spec import ModelSpec
    from ultrasam.weights.tasks import detect_task

    spec = ModelSpec.parse(job.model)
    if spec.kind == "path" and detect_task(spec.path) is not None:
        segmenter: Any = load(spec, device=job.device)
    else:
        segmenter = Predictor(
            job.model, refine=job.refine or spec.refine, tta=job.tta, device=job.device,
            precision=job.precision, runtime=job.runtime,
        )  # fmt: skip
    return partial(predict_files, segmenter), _made(job, segmenter)


def _mask_rows(
    job: Job,
    files: _Files,
    made: Provenance,
    shard: Shard,
    folder: Path,
    opened: Callable[[Path], AbstractContextManager[Scan]],
    overlap: bool,
    _: Callable[[], None],
) -> Iterator[list[Row]]:
    formats = [MaskFormat(one) for one in job.formats]
    png = MaskFormat.png in formats
    more: dict[str, Any] = {}
    if job.task == "prompts":
        more["prompts"] = shard.prompts
    if job.task != "automatic":
        exports: Finish | None = None
        if set(formats) - set(BY_FRAME):
            exports = Exports(folder, formats, made)
        more["finish"] = exports
    results = files(
        paths=[source.path for source in shard.sources], out=folder, frames=job.frames,
        provenance=made.as_dict(), png=png, overlay=png,
        pipeline=Pipeline(opened, AHEAD if overlap else 0, measured), **more,
    )  # fmt: skip
    told = _columns(made)
    for result in results:
        yield list(rows_of_masks(result, told))


def _classes(job: Job) -> OpenTask:
    from ultrasam.downstream.classification.exported import open_classifier
    from ultrasam.downstream.classification.predict import classify_files

    classifier = open_classifier(job.model, job.device)
    told = _columns(_made(job, classifier))

    def rows(shard: Shard, folder: Path, opened: Any, overlap: bool, _: Any) -> Iterator[list[Row]]:
        paths = [source.path for source in shard.sources]
        how = Pipeline(opened, AHEAD if overlap else 0)
        for result in classify_files(classifier, paths, frames=job.frames, pipeline=how):
            yield list(rows_of_classes(result, told))

    return OpenTask(CLASSES, rows)


def _features(job: Job) -> OpenTask:
    from ultrasam.downstream.embed import embed_files
    from ultrasam.downstream.features import Embedder

    model = load_model(job.model, device=job.device, precision=job.precision)
    # On a CPU a batch gains nothing, and its size, which free memory limits, would decide the last digits.
    on_cpu = str(model.device) == "cpu"
    embedder = Embedder(model, size=job.size, batch=1 if on_cpu else 8)
    told = _columns(_made(job, model))

    def rows(shard: Shard, folder: Path, opened: Any, overlap: bool, _: Any) -> Iterator[list[Row]]:
        paths = [source.path for source in shard.sources]
        how = Pipeline(opened, AHEAD if overlap else 0)
        for result in embed_files(embedder, paths, shard.prompts, frames=job.frames, pipeline=how):
            yield list(rows_of_features(result, told))

    return OpenTask(FEATURES, rows)


def _made(job: Job, loaded: Any) -> Provenance:
    return provenance_of(job.model, loaded, created=job.created)


def _columns(made: Provenance) -> dict[str, str]:
    return {key: value for key, value in made.as_dict().items() if key != "created"}
