"""Workers on this machine: this process, or processes of their own."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext
from pathlib import Path

from ultrasam.cluster.driver import Worker
from ultrasam.cluster.shards import ShardDone, ShardRunner
from ultrasam.processes import exit_with_parent, interrupts_held


def local_workers(out: Path, count: int) -> Sequence[Worker]:
    """Workers on this machine, which share its processors.

    Args:
        out: the folder of the results.
        count: number of processes; 0 is this one alone.
    """
    if count == 0:
        return [ThisProcess(out)]
    threads = max(1, num_cores() // count)
    return [OwnProcess(out, threads) for _ in range(count)]


def num_cores() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class ThisProcess:
    """Runs each shard at once, in this process; if it ends, so does the run."""

    lost: tuple[type[BaseException], ...] = ()

    def __init__(self, out: Path) -> None:
        self._runner = ShardRunner(out)

    def start(self, shard: int, *, careful: bool, refused: Mapping[str, str]) -> Future[ShardDone]:
        """As in `Worker`; returns when the shard is done."""
        future: Future[ShardDone] = Future()
        try:
            future.set_result(self._runner.run(shard, careful=careful, refused=refused))
        except Exception as error:
            future.set_exception(error)
        return future

    def replace(self) -> None:
        """Nothing to end."""

    def close(self) -> None:
        """Nothing to end."""


class OwnProcess:
    """Runs shards in a process of its own, which ends with this one."""

    lost: tuple[type[BaseException], ...] = (BrokenProcessPool,)

    def __init__(self, out: Path, threads: int) -> None:
        self._out, self._threads = out.absolute(), threads
        self._pool: ProcessPoolExecutor | None = None

    def start(self, shard: int, *, careful: bool, refused: Mapping[str, str]) -> Future[ShardDone]:
        """As in `Worker`."""
        with interrupts_held():  # a process that is only half started could not be ended
            if self._pool is None:
                self._pool = ProcessPoolExecutor(
                    1, _context(), initializer=_start_worker, initargs=(self._out, self._threads)
                )
            return self._pool.submit(_run, shard, careful, dict(refused))

    def replace(self) -> None:
        """As in `Worker`."""
        self.close()

    def close(self) -> None:
        """As in `Worker`."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        # By its handle, not its number, which another process may have by now. Python 3.14 has kill_workers.
        for process in list((pool._processes or {}).values()):
            if process.is_alive():
                process.kill()
        pool.shutdown(wait=False, cancel_futures=True)


def _context() -> BaseContext:
    """How processes start: on Linux, forked from one that has imported everything and computed nothing, so
    that all share its memory and a lost one is replaced at once."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ultrasam.cluster.tasks"])
    return context


_runners: list[ShardRunner] = []


def _start_worker(out: Path, threads: int) -> None:
    """Prepare a worker process. Ctrl-C is for the process that drives it."""
    exit_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What is odd about a file stands in its row; a message for each of millions would hide the others.
    logging.getLogger("ultrasam").setLevel(logging.ERROR)
    _runners[:] = [ShardRunner(out, threads=threads)]


def _run(shard: int, careful: bool, refused: Mapping[str, str]) -> ShardDone:
    return _runners[0].run(shard, careful=careful, refused=refused)
