"""What differs on Windows: file names that are not ASCII, and signal 0."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from ultrasam.datasets import archives


def test_reading_a_store_on_windows_needs_no_ascii_names() -> None:
    # OpenCV opens no file itself: images are read as bytes and then decoded.
    source = Path(__file__).parents[2] / "src" / "ultrasam"
    assert [f for f in source.rglob("*.py") if "imread(" in f.read_text("utf-8")] == []


@pytest.mark.parametrize(
    ("pid", "runs"), [(str(os.getpid()), True), ("999999999", False), ("x", False)]
)
def test_on_windows_a_process_is_looked_up_and_not_interrupted(
    monkeypatch: pytest.MonkeyPatch, pid: str, runs: bool
) -> None:
    def kill(pid: int, signal: int) -> None:
        raise AssertionError("signal 0 is Ctrl-C on Windows")

    monkeypatch.setattr(os, "kill", kill)
    monkeypatch.setattr(psutil, "pid_exists", lambda number: number == os.getpid())
    monkeypatch.setattr(archives, "_ON_WINDOWS", True)
    assert archives._is_running(pid) == runs
