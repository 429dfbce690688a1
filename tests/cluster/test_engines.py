"""Engines: the same bytes from one process, from two, and from Ray, whichever worker is lost."""

from __future__ import annotations

import multiprocessing.forkserver
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.cluster.jobs import differences, images, leftovers, planned, small_model
from tests.cluster.losses import Losses
from ultrasam.cluster.run import run_shards

ENGINES = ["local", "ray"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Losses]:
    """New workers have the hook; those that an earlier test has started must not lend theirs."""
    _stop_fork_server()
    yield Losses(tmp_path, monkeypatch)
    _stop_fork_server()


def _stop_fork_server() -> None:
    multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined]


def engine(name: str) -> dict[str, Any]:
    if name == "ray":
        pytest.importorskip("ray", reason="the extra 'cluster' is not installed")
    return {"engine": name, "workers": 2}


@pytest.fixture(autouse=True)
def _no_ray_left() -> Iterator[None]:
    yield
    import sys

    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()


@pytest.mark.parametrize("name", ENGINES)
def test_lost_workers_change_no_byte(
    name: str, model: Path, tmp_path: Path, losses: Losses
) -> None:
    how = engine(name)
    paths = images(tmp_path / "in", 12, bad=(4,))
    planned(tmp_path / "whole", tmp_path / "in", model, shard_size=3)
    run_shards(tmp_path / "whole")
    for number in (1, 10):
        losses.once(paths[number])
    planned(tmp_path / "out", tmp_path / "in", model, shard_size=3)
    run_shards(tmp_path / "out", **how)
    assert losses.left == 0
    assert differences(tmp_path / "out", tmp_path / "whole") == []
    assert leftovers(tmp_path / "out") == []


@pytest.mark.slow
def test_a_file_that_ends_every_process_is_a_row_and_costs_no_other(
    model: Path, tmp_path: Path, losses: Losses
) -> None:
    paths = images(tmp_path / "in", 6)
    losses.always(paths[2])
    planned(tmp_path / "out", tmp_path / "in", model, shard_size=3)
    run_shards(tmp_path / "out", workers=2)
    rows = pl.read_parquet(tmp_path / "out" / "shards" / "*" / "results.parquet")
    assert rows["path"].to_list() == [str(path) for path in paths]
    assert rows["rle"].is_null().to_list() == [index == 2 for index in range(6)]
    (error,) = rows["error"].drop_nulls().to_list()
    assert error.startswith(f"{paths[2]}: the process that opened it ended without a word")


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES)
def test_twenty_lost_workers_change_no_byte(
    name: str, model: Path, tmp_path: Path, losses: Losses
) -> None:
    how = engine(name)
    paths = images(tmp_path / "in", 60)
    planned(tmp_path / "whole", tmp_path / "in", model, shard_size=2)
    run_shards(tmp_path / "whole")
    for path in paths[::3]:
        losses.once(path)
    planned(tmp_path / "out", tmp_path / "in", model, shard_size=2)
    run_shards(tmp_path / "out", **how)
    assert losses.left == 0
    assert differences(tmp_path / "out", tmp_path / "whole") == []
