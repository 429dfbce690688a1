"""A sharded run from its plan to its last shard, and going on with one that was interrupted."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ultrasam.cluster.collect import COLLECTED, write_coco_results, write_measurements
from ultrasam.cluster.driver import drive
from ultrasam.cluster.job import JOB, Job, read_job
from ultrasam.cluster.local_engine import local_workers
from ultrasam.cluster.shards import (
    DONE,
    RUNNING,
    SHARDS,
    ShardDone,
    discard,
    is_intact,
    read_done,
    shard_folder,
    tidy,
)
from ultrasam.errors import ConfigError, DataError
from ultrasam.progress import OnProgress, no_progress

Engine = Literal["local", "ray"]


@dataclass(frozen=True, slots=True)
class Share:
    """The shards that one of several runs does: those whose number modulo ``of`` is ``index``."""

    index: int = 0
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Share:
        """Read ``i/n``.

        Raises:
            ConfigError: It has another form, or i is not below n.
        """
        index, slash, of = text.partition("/")
        if not (slash and index.isdecimal() and of.isdecimal() and int(index) < int(of)):
            raise ConfigError(
                f"'{text}' is no share of the shards; give i/n with i from 0 to n - 1, as 0/4."
            )
        return cls(int(index), int(of))

    def __contains__(self, shard: int) -> bool:
        return shard % self.of == self.index


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run, or all runs in its folder, have done.

    Attributes:
        done: the complete shards of this run's share.
        shards: how many its share has.
        left: shards of other shares that are not done yet.
        table: once all shards are done, predictions.json if it was asked for, or measurements.csv.
    """

    done: Sequence[ShardDone]
    shards: int
    left: int
    table: Path | None = None


def earlier_run(out: Path) -> Job | None:
    """The job of an earlier run in a folder; None if there is none."""
    return read_job(out) if (out / JOB).exists() else None


def check_same(out: Path, earlier: Job, wanted: Job) -> None:
    """Refuse to go on with a run that was asked for something else.

    Raises:
        ConfigError: It was.
    """
    difference = earlier.difference(wanted)
    if difference is not None:
        raise ConfigError(
            f"{out} holds a run of something else ({difference}); go on with its own options, or choose "
            "another -o."
        )


def remove_run(out: Path) -> None:
    """Remove a run and its results, and nothing else; the job last, so that no shard outlasts its job."""
    if not (out / JOB).exists():
        return
    for folder in (SHARDS, RUNNING):
        shutil.rmtree(out / folder, ignore_errors=True)
    for name in COLLECTED:
        (out / name).unlink(missing_ok=True)
    (out / JOB).unlink(missing_ok=True)
    for file in out.glob("manifest-*.parquet"):
        file.unlink(missing_ok=True)


def _intact(out: Path, shard: int) -> ShardDone | None:
    """The done-mark of a shard that is complete and as it was written."""
    try:
        mark = read_done(out, shard)
    except DataError:
        return None
    return mark if mark is not None and is_intact(out, mark) else None


def any_done(out: Path) -> bool:
    """Whether any shard of a run is complete."""
    return any((out / SHARDS).glob("[0-9]*"))


def run_shards(
    out: Path,
    *,
    workers: int = 0,
    engine: Engine = "local",
    address: str | None = None,
    share: Share | None = None,
    on_progress: OnProgress = no_progress,
    on_damaged: Callable[[int], object] = lambda shard: None,
) -> Outcome:
    """Do the shards of a planned job that are not done yet.

    Args:
        out: the folder of the results; `ultrasam.cluster.manifest.write_plan` has planned the job there.
        workers: processes or actors that each run the model; 0 is this process alone.
        engine: ``local`` or ``ray``.
        address: of a Ray cluster; None starts Ray on this machine.
        share: which shards; by default all.
        on_progress: called with the number of done shards.
        on_damaged: called for each shard that was done and whose files have changed since; it is done again.

    Raises:
        ConfigError: The engine needs workers.
        UltraSamError: The results cannot be written, or workers are lost again and again.
    """
    if engine == "ray" and workers == 0:
        raise ConfigError("The engine ray needs --workers of at least 1.")
    job = read_job(out)
    wanted = [number for number in range(job.num_shards) if number in (share or Share())]
    done: dict[int, ShardDone] = {}
    for number in wanted:
        mark = _intact(out, number)
        if mark is not None:
            done[number] = mark
        elif (shard_folder(out, number) / DONE).exists():
            on_damaged(number)
            discard(out, number)
    on_progress(len(done), len(wanted))

    def note(one: ShardDone) -> None:
        done[one.shard] = one
        failed = sum(mark.failed for mark in done.values())
        on_progress(len(done), len(wanted), failed=failed)

    left = [number for number in wanted if number not in done]
    if left:
        (out / SHARDS).mkdir(exist_ok=True)
        count = min(workers, len(left))
        if engine == "ray":
            from ultrasam.cluster.ray_engine import ray_workers

            hands = ray_workers(out, count, address)
        else:
            hands = local_workers(out, count)
        drive(out, left, hands, note)
    others = sum(read_done(out, n) is None for n in range(job.num_shards) if n not in done)
    table = None
    if not others:
        tidy(out)
        if "coco" in job.formats:
            table = write_coco_results(out, job)
        elif job.task == "measurements":
            table = write_measurements(out, job)
    return Outcome([done[number] for number in sorted(done)], len(wanted), others, table)
