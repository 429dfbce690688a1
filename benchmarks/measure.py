"""What the benchmarks share: interleaved timing, and the peak memory that a call adds."""

from __future__ import annotations

import gc
import os
import statistics
import threading
import time
from collections.abc import Callable, Mapping

import psutil

from ultrasam.hardware import processor


def interleaved(
    calls: Mapping[str, Callable[[], object]], *, runs: int, warmups: int = 1
) -> dict[str, float]:
    """Median seconds of each call, run in turn so that a slow minute of the machine slows all alike."""
    for call in calls.values():
        for _ in range(warmups):
            call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(runs):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def added_memory(call: Callable[[], object]) -> float:
    """Peak resident memory that a call adds to the process, in MiB, sampled every 2 ms."""
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
    return (peak - before) / 2**20


def trim_heap() -> None:
    """Give freed memory back to the system, so that one call's leftovers do not hide another's need."""
    import ctypes

    if os.name == "posix" and hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)


def report(title: str, rows: Mapping[str, str]) -> None:
    """Print rows under a heading, with the processor that they were measured on."""
    print(f"\n{title}\non {processor()}")
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"  {name:<{width}}  {value}")
