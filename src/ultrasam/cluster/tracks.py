"""Cines and volumes of a shard, in each of which objects are followed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, cast

from ultrasam.cluster.alive import Alive, AlivePredictor
from ultrasam.cluster.job import Job
from ultrasam.cluster.manifest import Shard
from ultrasam.cluster.rows import Row, measured, rows_of_masks
from ultrasam.errors import DiskFullError
from ultrasam.images.scan import Scan
from ultrasam.images.writing.formats import MaskFormat
from ultrasam.images.writing.segmentation import Provenance
from ultrasam.inference.inputs import ResultNames, stem_of
from ultrasam.inference.processing import FileResult, Open, describe_failure
from ultrasam.inference.prompts_file import PromptEntry
from ultrasam.inference.provenance import provenance_of
from ultrasam.inference.tracking.entries import names_of, prompts_by_frame
from ultrasam.inference.tracking.files import write_track_masks
from ultrasam.inference.tracking.track import Track, track


def track_rows(job: Job) -> Callable[[Shard, Path, Open, bool, Alive], Iterator[list[Row]]]:
    """What makes the rows of a shard, file by file, with the model opened.

    Raises:
        CheckpointError, DeviceError: The model cannot be loaded.
    """
    network = AlivePredictor(
        job.model, refine=job.refine, tta=job.tta, device=job.device, precision=job.precision
    )
    return partial(_rows, job, network, provenance_of(job.model, network, created=job.created))


def _rows(
    job: Job,
    network: AlivePredictor,
    made: Provenance,
    shard: Shard,
    folder: Path,
    opened: Open,
    _: bool,
    alive: Alive,
) -> Iterator[list[Row]]:
    """The rows of each file; what fails in one is a row of it, and costs no other."""
    told = {key: value for key, value in made.as_dict().items() if key != "created"}
    assert shard.prompts is not None
    network.alive = alive
    names = ResultNames()
    for source in shard.sources:
        path = source.path
        if path in shard.prompts.missing:
            results = [FileResult(path, error=shard.prompts.missing[path])]
        else:
            try:
                with opened(path) as scan:
                    found = _follow(job, network, scan, shard.prompts.entries[path], alive)
                    name = names.take(stem_of(path))
                    results = _results(job, path, found, folder, name, made)
            except DiskFullError:
                raise  # no other result could be written
            except Exception as error:
                results = [FileResult(path, error=describe_failure(path, error))]
        yield [row for result in results for row in rows_of_masks(result, told)]


def _follow(
    job: Job,
    network: AlivePredictor,
    scan: Scan,
    entries: list[PromptEntry],
    alive: Alive,
) -> Track:
    """Follow what the entries prompt for; a cine may take longer than a worker may be silent."""
    default = job.frames if isinstance(job.frames, int) else 0
    return track(
        scan, prompts_by_frame(entries, default), model=network, axis=job.axis,
        correction=cast(Any, job.correct), names=names_of(entries), on_progress=lambda *_, **__: alive(),
    )  # fmt: skip


def _results(
    job: Job, path: Path, found: Track, folder: Path, name: str, made: Provenance
) -> list[FileResult]:
    """A result for each stored frame with a mask, after one of the file if there are notes on it."""
    entries, files, notes = write_track_masks(
        found, folder, name, made, [MaskFormat(one) for one in job.formats]
    )
    scan = found.stored_scan
    notes = (*found.notes, *notes)
    results = [FileResult(path, notes=notes, files=files or (path,))] if notes else []

    def frame_of(entry: Mapping[str, Any]) -> int:
        return int(entry["frame"])

    for frame, of_frame in groupby(entries, frame_of):
        result = FileResult(
            path,
            results=[{**one, "category": one["name"]} for one in of_frame],
            frame=frame,
            size=(scan.height, scan.width),
        )
        results.append(measured(scan, result))
    return results
