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


def test_a_process_is_looked_up_and_not_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    # psutil itself calls os.kill(pid, 0), but not on Windows, where signal 0 is Ctrl-C.
    asked: list[int] = []
    monkeypatch.setattr(psutil, "pid_exists", lambda pid: asked.append(pid) or pid == os.getpid())
    assert archives._is_running(str(os.getpid()))
    assert not archives._is_running("999999999")
    assert not archives._is_running("x")
    assert asked == [os.getpid(), 999999999]
