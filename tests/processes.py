"""Commands in processes of their own, forked from one that has imported everything once.

Importing PyTorch and Lightning takes seconds, and a test of a kill or of several processes starts many.
Python's fork server imports them once; it has never computed anything, so its children can do all that a
fresh process can.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

import ultrasam.training.train  # noqa: F401  # what the fork server imports for its children
from ultrasam.cli import main

_SERVER = multiprocessing.get_context("forkserver")
# The servers' packages are an extra; what is missing is left to the child to report.
_SERVER.set_forkserver_preload(["tests.processes", "ultrasam.annotate.server.app"])
_LIMIT_S = 300.0  # a run that takes longer hangs

Before = Callable[[], object]


def nothing() -> None:
    """What is done before a command, where nothing is."""


def run(
    *arguments: object, log: Path, processes: int = 1, before: Before = nothing
) -> tuple[int, ...]:
    """The `ultrasam` command; the exit status of each process, negative the signal that ended it.

    Args:
        log: takes what the processes print.
        processes: as torchrun would start them, on one machine; if one dies, so do the others.
        before: done in the first process before the command; sent to it, so not a nested function.
    """
    with _started(arguments, log, processes, before) as workers:
        left = {worker.sentinel: worker for worker in workers}
        while left:
            ended = wait(list(left), timeout=_LIMIT_S)
            assert ended, f"no process ended in {_LIMIT_S:.0f} s:\n{log.read_text()[-2000:]}"
            for sentinel in ended:
                worker = left.pop(sentinel)  # type: ignore[index]
                worker.join()
                if worker.exitcode:
                    for other in left.values():
                        other.kill()
    return tuple(int(worker.exitcode or 0) for worker in workers)


class Background:
    """A command that goes on while the test does something else, with the methods of `subprocess.Popen`."""

    def __init__(self, *arguments: object, log: Path, before: Before = nothing) -> None:
        given = [str(a) for a in arguments]
        self._process = _SERVER.Process(target=_work, args=(given, log, 0, 1, 0, before))
        self._process.start()

    def poll(self) -> int | None:
        """The exit status, negative the signal that ended it; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it ends; returns its exit status."""
        self._process.join(timeout)
        assert self._process.exitcode is not None, f"it did not end in {timeout} s"
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """End it without a warning."""
        self._process.kill()


@contextmanager
def _started(
    arguments: tuple[object, ...], log: Path, processes: int, before: Before
) -> Iterator[list[BaseProcess]]:
    given, port = [str(a) for a in arguments], _free_port() if processes > 1 else 0
    workers: list[BaseProcess] = [
        _SERVER.Process(
            target=_work,
            args=(given, log, rank, processes, port, before if rank == 0 else nothing),
        )
        for rank in range(processes)
    ]
    try:
        for worker in workers:
            worker.start()
        yield workers
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.kill()
            worker.join()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _work(
    arguments: list[str], log: Path, rank: int, processes: int, port: int, before: Before
) -> None:
    with log.open("ab") as out:
        for number in (1, 2):
            os.dup2(out.fileno(), number)
    torch.set_num_threads(1)
    if processes > 1:
        # What torchrun tells its processes.
        os.environ |= {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0",
            "WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test",
        }  # fmt: skip
    before()
    sys.argv = ["ultrasam", *arguments]
    main.run()


def killed(statuses: tuple[int, ...]) -> bool:
    """The first process ended by SIGKILL."""
    return statuses[0] == -signal.SIGKILL
