"""Shared by the benchmarks: interleaved timing, and the peak memory added by a call."""

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
    """Median time of each call in seconds; calls take turns, so that a slow phase of the machine affects
    all."""
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
    """Return freed memory to the system, so that it does not hide the memory use of the next call."""
    import ctypes

    if os.name == "posix" and hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)


def report(title: str, rows: Mapping[str, str]) -> None:
    """Print rows under a heading and the name of the processor."""
    print(f"\n{title}\non {processor()}")
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"  {name:<{width}}  {value}")
