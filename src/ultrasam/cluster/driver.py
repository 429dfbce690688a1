"""Hand shards to workers until all are done; a worker that is lost or hangs is replaced, its shard repeated.

The engine decides what a worker is: a process of this machine, or a Ray actor of any. No worker holds a
shard's result, so losing one loses no more than the shard that it was at.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ultrasam.cluster.inputs import as_text
from ultrasam.cluster.shards import ShardDone, heartbeat_file, read_done
from ultrasam.errors import UltraSamError

logger = logging.getLogger(__name__)

STALLED_S = 600.0  # no frame takes as long
_POLL_S = 1.0
_LOOK_S = 10.0  # between two looks at all signs of life, which lie on a disk that may be slow
_SAME_FILE = 3  # losses at one file after which the file is held responsible
_LOSSES = 6  # losses of one shard after which the run is given up


class Worker(Protocol):
    """Runs one shard at a time.

    Attributes:
        lost: the errors of a future whose worker has ended.
    """

    lost: tuple[type[BaseException], ...]

    def start(self, shard: int, *, careful: bool, refused: Mapping[str, str]) -> Future[ShardDone]:
        """Begin a shard, as `ultrasam.cluster.shards.ShardRunner.run` does it."""

    def replace(self) -> None:
        """End the worker if it has not ended; the next shard gets a new one."""

    def close(self) -> None:
        """End the worker, now."""


@dataclass(slots=True)
class _History:
    """What has happened to a shard.

    Attributes:
        losses: how often its worker was lost.
        at: how often a worker was lost at a file, when it went file by file.
        refused: files that are not opened any more.
    """

    losses: int = 0
    at: Counter[str] = field(default_factory=Counter)
    refused: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Running:
    """A shard that a worker is at; ``beat`` and ``seen`` are its last sign of life and when it was seen."""

    worker: Worker
    shard: int
    beat: int = 0
    seen: float = field(default_factory=time.monotonic)


def drive(
    out: Path,
    shards: Iterable[int],
    workers: Sequence[Worker],
    on_done: Callable[[ShardDone], object],
    *,
    stalled_s: float = STALLED_S,
) -> None:
    """Have all shards done.

    A shard whose worker was lost is repeated file by file; a file at which it is lost three times more
    becomes a row that says so.

    Args:
        out: the folder of the results.
        shards: the numbers of those that are not done.
        workers: closed at the end.
        on_done: called for each.
        stalled_s: how long a worker may take for a frame, or for opening the model.

    Raises:
        UltraSamError: A shard cannot be done, as workers are lost again and again before they reach a file;
            or its results cannot be written.
    """
    left, histories = deque(shards), dict[int, _History]()
    idle = list(workers)
    running: dict[Future[ShardDone], _Running] = {}
    looked = time.monotonic()
    try:
        while left or running:
            while left and idle:
                worker, shard = idle.pop(), left.popleft()
                history = histories.get(shard, _History())
                future = _started(worker, shard, history)
                running[future] = _Running(worker, shard)
            ended, _ = wait(running, timeout=_POLL_S, return_when=FIRST_COMPLETED)
            for future in ended:
                run = running.pop(future)
                error = future.exception()
                if error is None:
                    histories.pop(run.shard, None)
                    on_done(future.result())
                elif isinstance(error, run.worker.lost):
                    _note_loss(out, run.shard, histories.setdefault(run.shard, _History()))
                    run.worker.replace()
                    left.appendleft(run.shard)
                else:
                    raise error
                idle.append(run.worker)
            if time.monotonic() - looked < min(_LOOK_S, stalled_s / 4):
                continue
            looked = time.monotonic()
            for future, run in _stalled(out, running, stalled_s):
                del running[future]
                logger.warning(
                    "Shard %d has stood still for %.0f s; its worker is replaced.",
                    run.shard,
                    stalled_s,
                )
                _note_loss(out, run.shard, histories.setdefault(run.shard, _History()))
                run.worker.replace()
                left.appendleft(run.shard)
                idle.append(run.worker)
    finally:
        for worker in workers:
            worker.close()


def _started(worker: Worker, shard: int, history: _History) -> Future[ShardDone]:
    """Begin a shard; a worker that has ended since its last one is lost at this one."""
    try:
        return worker.start(shard, careful=history.losses > 0, refused=history.refused)
    except worker.lost as error:
        future: Future[ShardDone] = Future()
        future.set_exception(error)
        return future


def _stalled(
    out: Path, running: Mapping[Future[ShardDone], _Running], stalled_s: float
) -> list[tuple[Future[ShardDone], _Running]]:
    """The shards that show no sign of life. Clocks of other machines may differ, so only changes count."""
    found = []
    now = time.monotonic()
    for future, run in running.items():
        try:
            beat = heartbeat_file(out, run.shard).stat().st_mtime_ns
        except OSError:
            beat = 0
        if beat != run.beat:
            run.beat, run.seen = beat, now
        elif now - run.seen > stalled_s and not future.done():
            found.append((future, run))
    return found


def _note_loss(out: Path, shard: int, history: _History) -> None:
    """Remember that a worker was lost, and refuse the file that it was at if that is why.

    Raises:
        UltraSamError: It was lost too often, at no file in particular.
    """
    was_careful = history.losses > 0
    history.losses += 1
    if read_done(out, shard) is not None:
        return
    beat = heartbeat_file(out, shard)
    path = ""
    if was_careful and beat.is_file():
        path = as_text(beat.read_bytes())
    beat.unlink(missing_ok=True)
    logger.warning(
        "The worker of shard %d ended without a word%s; the shard is repeated.",
        shard, f" at {path}" if path else "",
    )  # fmt: skip
    if path:
        history.at[path] += 1
        if history.at[path] >= _SAME_FILE:
            history.refused[path] = (
                f"{path}: the process that opened it ended without a word, {1 + _SAME_FILE} times; it is "
                "damaged, or too large for the memory."
            )
            history.losses = 1  # the next loss is of another file
    elif history.losses > _LOSSES:
        raise UltraSamError(
            f"The worker of shard {shard} was lost {history.losses} times before it opened a file; often the "
            "memory is too small for so many workers. Use fewer --workers, and go on with --resume."
        )
