"""The shard function: all files of one shard, committed at once, by whichever engine runs it.

A shard's results are written to a folder of a temporary name, synced, and renamed. The folder holds a
done-mark with the hash of each file, so a shard is complete or absent: what is killed leaves nothing that
counts, what is repeated commits once, and where it ran makes no difference.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ultrasam.cluster.durable import commit_folder, hash_file
from ultrasam.cluster.inputs import SourceReader
from ultrasam.cluster.job import read_job
from ultrasam.cluster.manifest import read_shard
from ultrasam.errors import DataError, UltraSamError, one_line
from ultrasam.files import is_disk_full, no_space, read_json, write_json

logger = logging.getLogger(__name__)

SHARDS, RUNNING = "shards", "running"
TABLE, DONE = "results.parquet", "done.json"
_PART = ".part"
_BEAT_S = 5.0  # a thousand workers on one disk must not touch a file for every frame


@dataclass(frozen=True, slots=True)
class ShardDone:
    """A complete shard.

    Attributes:
        shard: its number.
        files: how many files it has.
        rows: of its table.
        failed: files, frames and prompts that gave no result; the table's column ``error`` says why.
        doubtful: masks that are empty or of low confidence.
        seconds: how long it took.
        hashes: SHA-256 of each file in its folder, by name.
        noted: files of which something should be known; the table's column ``note`` says what.
    """

    shard: int
    files: int
    rows: int
    failed: int
    doubtful: int
    seconds: float
    hashes: Mapping[str, str]
    noted: int = 0


def shard_folder(out: Path, shard: int) -> Path:
    """The folder of a shard's results."""
    return out / SHARDS / f"{shard:06d}"


def heartbeat_file(out: Path, shard: int) -> Path:
    """The file that a worker touches while frames of a shard come out; it holds the path of the file that the
    worker is at, if it goes file by file."""
    return out / RUNNING / f"{shard:06d}"


def read_done(out: Path, shard: int) -> ShardDone | None:
    """The done-mark of a shard; None if it is not complete.

    Raises:
        DataError: The mark is damaged.
    """
    path = shard_folder(out, shard) / DONE
    if not path.is_file():
        return None
    try:
        return ShardDone(**read_json(path))
    except TypeError as error:
        raise DataError(
            f"{path} is damaged; remove its folder, and go on with --resume."
        ) from error


def is_intact(out: Path, done: ShardDone) -> bool:
    """Whether all files of a complete shard are as they were written."""
    folder = shard_folder(out, done.shard)
    return all(
        (folder / name).is_file() and hash_file(folder / name) == expected
        for name, expected in done.hashes.items()
    )


def discard(out: Path, shard: int) -> None:
    """Remove what there is of a shard."""
    shutil.rmtree(shard_folder(out, shard), ignore_errors=True)


class ShardRunner:
    """Runs shards of a job, one after the other; the model is opened at the first of them and kept.

    Args:
        out: the folder of the results, in which the job is planned.
        threads: of PyTorch, in this process; None leaves them.

    Example:
        In an engine of your own, in each of its workers::

            runner = ShardRunner(Path("results"))
            for shard in numbers:
                runner.run(shard)
    """

    def __init__(self, out: Path, *, threads: int | None = None) -> None:
        self.out = out
        self.job = read_job(out)
        self.threads = threads
        self._task: Any = None

    def run(
        self, shard: int, *, careful: bool = False, refused: Mapping[str, str] | None = None
    ) -> ShardDone:
        """Do a shard, or find that it is done.

        A file that fails becomes a row of the table, never an error.

        Args:
            shard: its number.
            careful: do one file after the other, and say before each which it is. A worker that has ended
                without a word is repeated so, to find the file that ended it.
            refused: files that are not to be opened, each with the sentence for its row.

        Raises:
            ConfigError: The job has no such shard.
            DataError: The manifest is damaged.
            CheckpointError, DeviceError: The model cannot be loaded.
            DiskFullError, UltraSamError: The results cannot be written.
        """
        done = read_done(self.out, shard)
        if done is not None:
            return done
        start = time.monotonic()
        files = read_shard(self.out, self.job, shard)
        part = self.out / SHARDS / f".{shard:06d}.{secrets.token_hex(4)}{_PART}"
        beat = heartbeat_file(self.out, shard)
        try:
            part.mkdir(parents=True)
            beat.parent.mkdir(exist_ok=True)
            beat.write_bytes(b"")
            if self._task is None:
                self._task = self._open()
            return self._commit(files, part, beat, careful, refused or {}, start)
        except OSError as error:
            done = read_done(self.out, shard)
            if done is not None:
                return done  # another worker was faster, and its run has removed what is left of this one
            if isinstance(error, UltraSamError):
                raise
            if is_disk_full(error):
                raise no_space(part, error) from error
            raise UltraSamError(f"Cannot write {part}: {one_line(error)}.") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
            beat.unlink(missing_ok=True)

    def _open(self) -> Any:
        import torch

        from ultrasam.cluster.tasks import open_task

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        return open_task(self.job)

    def _commit(
        self,
        files: Any,
        part: Path,
        beat: Path,
        careful: bool,
        refused: Mapping[str, str],
        start: float,
    ) -> ShardDone:
        from ultrasam.cluster.rows import write_rows

        refusals = {Path(path): reason for path, reason in refused.items()}
        reader = SourceReader(
            files.sources, Path(self.job.folder), refusals, beat if careful else None
        )
        rows, beaten = [], time.monotonic()

        def alive() -> None:
            nonlocal beaten
            if time.monotonic() - beaten > _BEAT_S:
                beaten = time.monotonic()
                with suppress(OSError):  # a disk of a cluster that stutters costs no result
                    os.utime(beat)

        for found in self._task.rows(files, part, reader, not careful, alive):
            rows += found
            alive()
        summary = write_rows(part / TABLE, rows, self._task.schema, reader.named)
        hashes = {
            path.relative_to(part).as_posix(): hash_file(path)
            for path in sorted(part.rglob("*"))
            if path.is_file()
        }
        done = ShardDone(
            files.number, len(files.sources), summary.rows, summary.failed, summary.doubtful,
            round(time.monotonic() - start, 3), hashes, summary.noted,
        )  # fmt: skip
        write_json(part / DONE, asdict(done))
        if not commit_folder(part, shard_folder(self.out, files.number)):
            other = read_done(self.out, files.number)
            if other is not None:
                return other  # another worker was faster
            raise DataError(
                f"{shard_folder(self.out, files.number)} is no complete shard; remove it, and go on with "
                "--resume."
            )
        return done


def tidy(out: Path) -> None:
    """Remove what workers that were ended left behind; only once no worker runs."""
    for part in (out / SHARDS).glob(f".*{_PART}"):
        shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(out / RUNNING, ignore_errors=True)
