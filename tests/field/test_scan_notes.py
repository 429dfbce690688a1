"""What is odd about a file is said once, and kept with its scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ultrasam.images import reading
from ultrasam.images.scan import Scan


def test_notes_of_a_scan_are_logged_once_on_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"\x89PNG\r\n\x1a\n")
    pixels = np.zeros((4, 5), np.uint8)
    scan = Scan(1, 4, 5, False, lambda _: pixels, notes=("One is odd.", "Two is odd."))
    monkeypatch.setattr(reading, "_reader", lambda kind: lambda path: scan)
    assert reading.read_scan(file).notes == ("One is odd.", "Two is odd.")
    reading.read_scan(file)
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("WARNING", f"{file}: One is odd. Two is odd.")
    ]


def test_a_scan_of_which_nothing_is_odd_has_no_notes(caplog: pytest.LogCaptureFixture) -> None:
    assert Scan.from_array(np.zeros((4, 5), np.uint8)).notes == ()
    assert not caplog.records
