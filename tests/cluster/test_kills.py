"""The command, killed twenty times at random and started again: nothing lost, nothing done twice."""

from __future__ import annotations

import os
import signal
import threading
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests import processes
from tests.cluster.jobs import differences, images, leftovers, small_model


def _kill_after(seconds: float) -> None:
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL))
    timer.daemon = True
    timer.start()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_twenty_kills_of_the_command_change_no_byte(tmp_path: Path, workers: int) -> None:
    model = small_model(tmp_path)
    paths = images(tmp_path / "in", 48, bad=(7,))
    log = tmp_path / "log.txt"

    def predict(out: Path, *more: object, after: float | None = None) -> tuple[int, ...]:
        before = processes.nothing if after is None else partial(_kill_after, after)
        return processes.run(
            "predict", tmp_path / "in", "--box", "6,5,30,24", "--no-tta", "--device", "cpu",
            "--model", model, "--shard-size", 1, "--workers", workers, "-o", out, *more,
            log=log, before=before,
        )  # fmt: skip

    assert predict(tmp_path / "whole") == (1,), log.read_text()  # one image is torn
    rng, kills, out = np.random.default_rng(workers), 0, tmp_path / "out"
    longest = 2.0
    while kills < 20:
        started = (out / "job.json").exists()
        status = predict(out, *(["--resume"] if started else []), after=rng.uniform(0, longest))
        if processes.killed(status):
            kills += 1
            continue
        # It was done before its end came: what is done goes, and the ends come sooner.
        assert status == (1,), log.read_text()
        assert differences(out, tmp_path / "whole") == []
        longest *= 0.7
        predict(out, "--overwrite", after=0.0)
        kills += 1
    predict(out, *(["--resume"] if (out / "job.json").exists() else []))
    assert differences(out, tmp_path / "whole") == []
    assert leftovers(out) == []
    rows = pl.read_parquet(out / "shards" / "*" / "results.parquet")
    assert rows["path"].to_list() == [str(path) for path in paths]
