"""Devices and precisions: what this machine supports, and how ``auto`` is resolved.

bfloat16 weights make a ViT encoder about twice as fast on processors with bfloat16 instructions, and five
times slower on others of the same class, so the choice depends on the processor's flags.
"""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from ultrasam.errors import ConfigError, DeviceError

if TYPE_CHECKING:
    import torch
    from torch import nn

    M = TypeVar("M", bound=nn.Module)

Precision = Literal["float32", "bfloat16"]
_SPELLINGS = {
    "float32": "float32", "fp32": "float32", "32": "float32",
    "bfloat16": "bfloat16", "bf16": "bfloat16", "auto": "auto",
}  # fmt: skip
# What NVIDIA's driver (also on Jetson and in WSL) and AMD's create on Linux.
_DEVICES = Path("/dev")
_GPU_FILES = ("nvidia*", "nvhost*", "nvmap", "dxg", "kfd")
# Linux's names: two kinds of bfloat16 units on x86, one on Arm.
_BFLOAT16_FLAGS = ("amx_bf16", "avx512_bf16", "bf16")
# Flags that determine how fast a network runs; `processor` lists those present.
_RELEVANT_FLAGS = (
    "avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8",
    "asimd", "bf16", "i8mm", "sve",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PrecisionChoice:
    """A precision for the image encoder's weights, and a clause that gives the reason."""

    precision: Precision
    reason: str


def default_device(device: str | torch.device | None = None) -> str:
    """The given device as a string; by default ``cuda`` if available, otherwise ``cpu``.

    Apple's ``mps`` is untested, so it is used only on request.
    """
    if device:
        return str(device)
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def require_gpu(device: str = "cuda") -> None:
    """Refuse a CUDA device that is not available; PyTorch is imported only if there may be a GPU.

    Args:
        device: ``cuda``, or ``cuda:1`` for the second GPU.

    Raises:
        DeviceError: There is no GPU, or none of that index.
    """
    count = 0
    if not _certainly_without_gpu():
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        raise DeviceError(f"Device '{device}' is not available; use 'cpu'.")
    if int(device.partition(":")[2] or 0) >= count:
        raise DeviceError(
            f"Device '{device}' is not available; this machine has {count}, from cuda:0."
        )


def _certainly_without_gpu() -> bool:
    """Whether PyTorch need not be asked for a GPU, which takes seconds unless it is imported already."""
    if "torch" in sys.modules:
        return False
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return True
    try:
        if version("torch").endswith("+cpu"):
            return True
    except PackageNotFoundError:
        return False
    return sys.platform == "linux" and not any(any(_DEVICES.glob(name)) for name in _GPU_FILES)


def place(module: M, device: str) -> M:
    """Move a module to a device.

    Raises:
        DeviceError: The device is not available, or its memory is too small.
    """
    try:
        return module.to(device)
    except (RuntimeError, AssertionError) as error:
        if "out of memory" in str(error).lower():
            raise DeviceError(
                f"The model does not fit in the memory of '{device}'; use a smaller model or 'cpu'."
            ) from error
        raise DeviceError(f"Device '{device}' is not available; use 'cpu'.") from error


def choose_precision(requested: str | None, device: str) -> PrecisionChoice:
    """Resolve a requested precision.

    Args:
        requested: ``float32`` (``fp32``), ``bfloat16`` (``bf16``) or ``auto``; None means float32. ``auto``
            means bfloat16 if the device supports it in hardware.
        device: a torch device.

    Raises:
        ConfigError: The precision is unknown.
    """
    name = _SPELLINGS.get(requested or "float32")
    if name is None:
        raise ConfigError(f"Unknown precision '{requested}'; use auto, float32 or bfloat16.")
    supported, reason = _supports_bfloat16(device)
    if name == "auto":
        return PrecisionChoice("bfloat16" if supported else "float32", reason)
    if name == "bfloat16":
        slow = f"as requested; slower than float32 here, because {reason}"
        return PrecisionChoice("bfloat16", "as requested" if supported else slow)
    return PrecisionChoice("float32", "as requested" if requested else "the default")


def _supports_bfloat16(device: str) -> tuple[bool, str]:
    if device.startswith("cuda"):
        import torch

        try:
            supported = torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere
        except (RuntimeError, AssertionError, ValueError):  # `place` reports the error
            supported = False
        return supported, f"the GPU {'has' if supported else 'lacks'} bfloat16 units"
    if device.startswith("cpu"):
        flags = [flag for flag in _BFLOAT16_FLAGS if flag in processor_flags()]
        if flags:
            return True, f"the processor has {flags[0]}"
        return False, "the processor has no bfloat16 units"
    return False, f"float32 is the safe choice on '{device}'"


def available_memory(device: str) -> float | None:
    """Memory in bytes that a torch device can still give; None if the system does not tell."""
    if device.startswith("cuda"):
        import torch

        return float(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    values = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return float(values[0]) * 1024 if values else None


@lru_cache(maxsize=1)
def processor_flags() -> frozenset[str]:
    """Instruction-set flags, by Linux's names; empty on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip().lower() in ("flags", "features"):
            return frozenset(value.split())
    return frozenset()


def processor() -> str:
    """The processor model and its relevant flags on one line, for a benchmark's heading."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
                break
    except OSError:
        pass
    flags = [flag for flag in _RELEVANT_FLAGS if flag in processor_flags()]
    return f"{name} ({' '.join(flags) or 'flags unknown'})"
