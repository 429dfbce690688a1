"""The server in a process of its own, told to stop as a service manager does."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_server_that_is_told_to_stop_closes_the_project(
    tmp_path: Path, number: signal.Signals
) -> None:
    cv2.imwrite(str(tmp_path / "scan.png"), np.zeros((60, 80), np.uint8))
    command = [
        sys.executable,
        "-m",
        "ultrasam",
        "annotate",
        str(tmp_path),
        "--port",
        "0",
        "--no-browser",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        assert server.stdout.readline().startswith("http://127.0.0.1:")
        server.send_signal(number)
        said = server.stderr.read()
        assert server.wait(60) == 0, said
    assert "Everything is saved in" in said
    # The write-ahead log is folded into the project file.
    assert [path.name for path in tmp_path.glob("ultrasam*")] == ["ultrasam.project.sqlite"]
