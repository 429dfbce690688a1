"""Whether a GPU is available is decided without PyTorch where that is certain, and by PyTorch otherwise."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from ultrasam import hardware
from ultrasam.errors import DeviceError
from ultrasam.hardware import _certainly_without_gpu, require_gpu


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Linux with a CUDA build of PyTorch that is not imported; the folder is /dev."""
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(hardware, "version", lambda _: "2.9.0+cu128")
    monkeypatch.setattr(hardware, "_DEVICES", tmp_path)
    return tmp_path


@pytest.mark.parametrize("file", ["nvidia0", "nvidiactl", "nvmap", "dxg", "kfd"])
def test_a_drivers_file_means_that_pytorch_is_asked(unloaded: Path, file: str) -> None:
    (unloaded / "nvme0").touch()  # a disk
    assert _certainly_without_gpu()
    (unloaded / file).touch()
    assert not _certainly_without_gpu()


@pytest.mark.parametrize(
    ("value", "hidden"), [("", True), ("-1", True), ("0", False), ("0,1", False)]
)
def test_gpus_can_be_hidden(
    unloaded: Path, monkeypatch: pytest.MonkeyPatch, value: str, hidden: bool
) -> None:
    (unloaded / "nvidia0").touch()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert _certainly_without_gpu() is hidden


def test_a_build_for_the_cpu_uses_no_gpu(unloaded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (unloaded / "nvidia0").touch()
    monkeypatch.setattr(hardware, "version", lambda _: "2.9.0+cpu")
    assert _certainly_without_gpu()


def test_other_systems_ask_pytorch(unloaded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert not _certainly_without_gpu()


def test_a_gpu_is_required_by_its_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    require_gpu()
    require_gpu("cuda:1")
    with pytest.raises(
        DeviceError, match=r"'cuda:2' is not available; this machine has 2, from cuda:0\."
    ):
        require_gpu("cuda:2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match=r"^Device 'cuda:1' is not available; use 'cpu'\.$"):
        require_gpu("cuda:1")
