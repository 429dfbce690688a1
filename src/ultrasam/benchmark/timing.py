"""Time calls in turn, and measure the memory that a call adds and the processor's rate of matrix products."""

from __future__ import annotations

import gc
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from ultrasam.extras import needs

_SIDE, _PRODUCTS = 1024, 7  # of the matrices whose products are timed, and how many


@dataclass(frozen=True, slots=True)
class Timing:
    """Median seconds of a call: on the clock, and of all processors' time."""

    wall: float
    cpu: float


def timings(
    calls: Mapping[str, Callable[[], object]], *, runs: int, warmups: int = 1
) -> dict[str, Timing]:
    """Median time of each call; calls take turns, so that a slow phase of the machine affects all."""
    for call in calls.values():
        for _ in range(warmups):
            call()
    measured: dict[str, list[Timing]] = {name: [] for name in calls}
    for _ in range(runs):
        for name, call in calls.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            measured[name].append(Timing(wall, cpu))
    return {
        name: Timing(
            statistics.median(one.wall for one in values),
            statistics.median(one.cpu for one in values),
        )
        for name, values in measured.items()
    }


def interleaved(
    calls: Mapping[str, Callable[[], object]], *, runs: int, warmups: int = 1
) -> dict[str, float]:
    """Median seconds of each call on the clock; see `timings`."""
    return {name: t.wall for name, t in timings(calls, runs=runs, warmups=warmups).items()}


@contextmanager
def busy_process() -> Iterator[None]:
    """Another process that keeps a core busy meanwhile."""
    process = subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def added_memory(call: Callable[[], object]) -> float:
    """Peak resident memory that a call adds to the process, in MiB, sampled every 2 ms.

    Raises:
        MissingDependencyError: psutil is not installed.
    """
    with needs("Measuring memory", extra="train"):
        import psutil
    gc.collect()
    trim_heap()
    process = psutil.Process()
    before = process.memory_info().rss
    peak, running = before, True

    def watch() -> None:
        nonlocal peak
        while running:
            peak = max(peak, process.memory_info().rss)
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = call()
    finally:
        running = False
        watcher.join()
    del result
    return float(peak - before) / 2**20


def trim_heap() -> None:
    """Return freed memory to the system, so that it does not hide the memory use of the next call."""
    import ctypes

    if os.name == "posix" and hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)


def matrix_rate(precision: str) -> float:
    """Floating-point operations per second of a processor's time of PyTorch's product of two square matrices,
    the best of several.

    Args:
        precision: ``float32`` or ``bfloat16``.
    """
    import torch

    dtype = getattr(torch, precision)
    a, b = (torch.randn(_SIDE, _SIDE).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(_PRODUCTS):
        start = time.process_time()
        a @ b
        seconds.append(time.process_time() - start)
    return 2 * _SIDE**3 / min(seconds)
