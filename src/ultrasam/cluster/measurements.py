"""Measuring the files of a shard, each by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from ultrasam.cluster.alive import Alive, AlivePredictor
from ultrasam.cluster.job import Job
from ultrasam.cluster.manifest import Shard
from ultrasam.cluster.rows import Row, rows_of_measurements
from ultrasam.inference.processing import Open
from ultrasam.inference.provenance import provenance_of
from ultrasam.measure.files import ModelMasks, measure_files


def measurement_rows(
    job: Job,
) -> Callable[[Shard, Path, Open, bool, Alive], Iterator[list[Row]]]:
    """What makes the rows of a shard, file by file, with the model opened.

    Raises:
        CheckpointError, DeviceError: The model cannot be loaded.
    """
    network = AlivePredictor(job.model, tta=job.tta, device=job.device, precision=job.precision)
    made = provenance_of(job.model, network, created=job.created).as_dict()
    told = {key: value for key, value in made.items() if key != "created"}
    return partial(_rows, job, network, told)


def _rows(
    job: Job,
    network: AlivePredictor,
    told: dict[str, str],
    shard: Shard,
    _folder: Path,
    opened: Open,
    _overlap: bool,
    alive: Alive,
) -> Iterator[list[Row]]:
    assert shard.prompts is not None
    network.alive = alive
    source = ModelMasks(network, shard.prompts, job.pixel_size)
    for one in shard.sources:
        for found in measure_files(
            job.kind, [one.path], source, frames=job.frames, factor=job.factor, opened=opened
        ):
            yield list(rows_of_measurements(found, told))
