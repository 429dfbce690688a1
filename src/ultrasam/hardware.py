"""Devices and number formats: what this machine has, and what a request for ``auto`` becomes.

Processors of one class differ: weights in bfloat16 make a ViT encoder about twice as fast where the processor
multiplies bfloat16, and five times slower where it does not. So nothing here is assumed; flags are read.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import lru_cache
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
# As Linux names them: x86's two kinds of bfloat16 units, and Arm's.
_BFLOAT16_FLAGS = ("amx_bf16", "avx512_bf16", "bf16")
# Those that decide how fast a network runs; `processor` names the ones that are there.
_TELLING_FLAGS = (
    "avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8",
    "asimd", "bf16", "i8mm", "sve",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PrecisionChoice:
    """A number format for the image encoder's weights, and why it was chosen; one clause."""

    precision: Precision
    reason: str


def default_device(device: str | torch.device | None = None) -> str:
    """The device that is named, as text; for None, ``cuda`` if there is one, else ``cpu``. (Apple's ``mps``
    was not
    tested: it is taken only where it is named.)"""
    if device:
        return str(device)
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def place(module: M, device: str) -> M:
    """Move a module to a device.

    Raises:
        DeviceError: the device is not available, or its memory is too small.
    """
    try:
        return module.to(device)
    except (RuntimeError, AssertionError) as error:
        if "out of memory" in str(error).lower():
            raise DeviceError(f"The model does not fit into the memory of '{device}'.") from error
        raise DeviceError(f"Device '{device}' is not available; use 'cpu'.") from error


def choose_precision(wanted: str | None, device: str) -> PrecisionChoice:
    """The number format for a request.

    Args:
        wanted: ``float32`` (``fp32``), ``bfloat16`` (``bf16``) or ``auto``; None is float32. ``auto`` takes
            bfloat16 where the device multiplies it in hardware.
        device: a torch device.

    Raises:
        ConfigError: the request is none of these.
    """
    name = _SPELLINGS.get(wanted or "float32")
    if name is None:
        raise ConfigError(f"Precision '{wanted}' is unknown; use auto, float32 or bfloat16.")
    has, reason = _multiplies_bfloat16(device)
    if name == "auto":
        return PrecisionChoice("bfloat16" if has else "float32", reason)
    if name == "bfloat16":
        slow = "" if has else "as requested; slower than float32 here, since "
        return PrecisionChoice("bfloat16", slow + reason if slow else "as requested")
    return PrecisionChoice("float32", "as requested" if wanted else "the default")


def _multiplies_bfloat16(device: str) -> tuple[bool, str]:
    if device.startswith("cuda"):
        import torch

        try:
            has = torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere
        except (RuntimeError, AssertionError, ValueError):  # `place` says what is wrong with it
            has = False
        return has, f"the GPU {'has' if has else 'lacks'} bfloat16 units"
    if device.startswith("cpu"):
        found = [flag for flag in _BFLOAT16_FLAGS if flag in processor_flags()]
        if found:
            return True, f"the processor has {found[0]}"
        return False, "the processor has no bfloat16 units"
    return False, f"float32 is the safe choice on '{device}'"


@lru_cache(maxsize=1)
def processor_flags() -> frozenset[str]:
    """Instruction-set flags as Linux names them; empty where the system does not tell."""
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
    """The processor in a line, for the heading of a benchmark: model and telling flags."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
                break
    except OSError:
        pass
    flags = [flag for flag in _TELLING_FLAGS if flag in processor_flags()]
    return f"{name} ({' '.join(flags) or 'flags unknown'})"
