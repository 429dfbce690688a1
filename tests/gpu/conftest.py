"""The GPU that these tests need; they are skipped where there is none."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="session")
def gpu() -> str:
    """The device whose results are compared with the CPU's.

    `ULTRASAM_GPU_TESTS=cpu` runs the tests without a GPU, the CPU against itself.
    """
    device = os.environ.get("ULTRASAM_GPU_TESTS", "cuda")
    if device.startswith("cuda") and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return device


@pytest.fixture(autouse=True)
def full_precision() -> Iterator[None]:
    """fp32 without TF32, whose 10 bits would hide what these tests look for."""
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = False
    yield
    for backend, allowed in zip(backends, before, strict=True):
        backend.allow_tf32 = allowed


def sizes() -> list[str]:
    """nano and a ViT-B; only nano if the CPU is compared with itself."""
    return ["nano"] if os.environ.get("ULTRASAM_GPU_TESTS") == "cpu" else ["nano", "vit-b"]
