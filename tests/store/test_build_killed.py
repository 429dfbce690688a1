"""A build that is killed at any time resumes to the same store."""

from __future__ import annotations

import os
import shutil
import signal
from functools import partial
from pathlib import Path

import pytest

from tests import processes
from tests.crashes import killed_at
from tests.datasets.layouts import MAKERS
from tests.store.test_store import busi_like, contents, make_store
from ultrasam.datasets.discover import find_datasets
from ultrasam.errors import DataError
from ultrasam.store.build import build_store
from ultrasam.store.index import BuildSettings
from ultrasam.store.store import Store
from ultrasam.store.validate import validate_store


def opened(store: Path) -> int | None:
    """How many images a store holds; None if it isn't finished. A store that opens is sound."""
    try:
        found = Store.open(store)
    except DataError:
        return None
    assert not list(validate_store(found))
    return len(found.images)


@pytest.mark.parametrize("before", [0, 4], ids=["new", "extended"])
@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_a_build_killed_at_any_write_goes_on_to_the_same_store(
    before: int, every: int, tmp_path: Path
) -> None:
    """A new store, and one that held some of the images: it is the earlier one, the new one or neither."""
    raw, store = tmp_path / "raw", tmp_path / "store"
    if before:
        busi_like(raw, before)
        make_store(raw, tmp_path / "earlier")
    busi_like(raw, 7)
    MAKERS["fast_u_net"](raw / "fast_u_net")

    def start() -> None:
        shutil.rmtree(store, ignore_errors=True)
        if before:
            shutil.copytree(tmp_path / "earlier", store)

    start()
    with killed_at(store) as changes:
        make_store(raw, store)
    whole, images = contents(store), len(Store.open(store).images)
    assert changes.count > 30
    states = []
    for last in range(1, changes.count + 1, every):
        start()
        with killed_at(store, last) as killed:
            make_store(raw, store)
        assert killed.dead
        states.append(opened(store))
        for left in store.rglob(f"*{os.getpid()}*"):  # as of another process
            left.rename(left.with_name(left.name.replace(str(os.getpid()), "1")))
        make_store(raw, store)
        assert contents(store) == whole, last
    # First what was there, and never what is not whole.
    assert states[0] == (before or None)
    assert set(states) <= {before or None, None, images}


def kill_in_the_middle(raw: Path, store: Path) -> None:
    """Builds with two processes that read, and kills the one that they work for."""

    def tell(done: int, total: int, /, **_: object) -> None:
        if done:
            os.kill(os.getpid(), signal.SIGKILL)

    build_store(
        find_datasets([str(raw)]), store, settings=BuildSettings(), workers=2, on_progress=tell
    )


@pytest.mark.slow
def test_a_build_killed_with_its_processes_goes_on_to_the_same_store(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    busi_like(raw, 200)
    make_store(raw, tmp_path / "whole")
    for name in ("a", "b"):
        kill = partial(kill_in_the_middle, raw, tmp_path / "store")
        ended = processes.run("--version", log=tmp_path / f"{name}.log", before=kill)
        assert processes.killed(ended)
    assert opened(tmp_path / "store") is None
    assert any((tmp_path / "store").rglob("*.png"))
    make_store(raw, tmp_path / "store")
    assert contents(tmp_path / "store") == contents(tmp_path / "whole")
