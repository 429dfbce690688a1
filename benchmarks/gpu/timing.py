"""Timing on a GPU or a CPU: medians of calls run in turn, and the peak memory of one call."""

from __future__ import annotations

import gc
import subprocess
from collections.abc import Callable, Mapping
from functools import partial

import torch

from ultrasam.benchmark.timing import interleaved


def medians(
    calls: Mapping[str, Callable[[], object]], *, device: str, runs: int
) -> dict[str, float]:
    """Median seconds of each call, the device's work included."""
    finished = {name: partial(_finish, call, device) for name, call in calls.items()}
    return interleaved(finished, runs=runs, warmups=3 if device.startswith("cuda") else 1)


def _finish(call: Callable[[], object], device: str) -> None:
    call()
    wait(device)


def wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def peak_mib(call: Callable[[], object], device: str) -> float | None:
    """Peak GPU memory during a call, beyond what was allocated before it; None on a CPU."""
    if not device.startswith("cuda"):
        return None
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    result = call()
    wait(device)
    del result
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20


def card(device: str) -> str:
    """The GPU in one line; 'none' on a CPU."""
    if not device.startswith("cuda"):
        return "none"
    found = torch.cuda.get_device_properties(device)
    text = f"{found.name}, {found.total_memory / 2**30:.0f} GiB"
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20)
        return f"{text}, driver {driver.stdout.split()[0]}"
    except (OSError, subprocess.SubprocessError, IndexError):
        return text
