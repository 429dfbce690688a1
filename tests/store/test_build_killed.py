"""A build that is killed at any time resumes to the same store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.datasets.layouts import MAKERS
from tests.store.test_store import busi_like, contents
from ultrasam.store.store import Store

RUN = "from ultrasam.cli.main import run; run()"


def command(raw: Path, store: Path) -> list[str]:
    return [
        sys.executable,
        "-c",
        RUN,
        "data",
        "build",
        str(raw),
        "-o",
        str(store),
        "--workers",
        "1",
    ]


@pytest.mark.slow
def test_ten_killed_builds_resume_to_the_same_store(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    busi_like(raw, 700)
    for name in ("camus", "echonet_dynamic", "fast_u_net"):
        MAKERS[name](raw / name)
    start = time.monotonic()
    subprocess.run(command(raw, tmp_path / "whole"), check=True, capture_output=True)
    whole_time = time.monotonic() - start
    whole = contents(tmp_path / "whole")
    rng = np.random.default_rng(2)
    unfinished = begun = 0
    for k in range(10):
        store = tmp_path / f"store{k}"
        running = subprocess.Popen(
            command(raw, store), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(whole_time * rng.uniform(0.3, 1.0))
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
        unfinished += not (store / "manifest.json").exists()
        begun += any(store.rglob("*.png"))
        subprocess.run(command(raw, store), check=True, capture_output=True)
        assert contents(store) == whole
    assert unfinished >= 2  # how many depends on how busy the machine is
    assert begun >= 2
    assert len(Store.open(tmp_path / "store0").images) == len(Store.open(tmp_path / "whole").images)
