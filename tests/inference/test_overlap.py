"""Reading, predicting and writing overlap without changing what comes out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ultrasam.errors import DiskFullError
from ultrasam.images.reading import read_scan
from ultrasam.images.scan import Scan
from ultrasam.inference.overlap import ahead
from ultrasam.inference.processing import FileResult, Pipeline, ScanFrame, process_files


def threads() -> int:
    return sum(thread.name == "ahead" for thread in threading.enumerate())


@given(st.lists(st.integers()), st.integers(0, 4))
def test_what_runs_ahead_is_what_it_runs_over(items: list[int], depth: int) -> None:
    assert list(ahead(iter(items), depth)) == items
    assert threads() == 0


@given(st.lists(st.integers(), max_size=6), st.integers(0, 4))
def test_an_error_comes_after_what_came_before_it(items: list[int], depth: int) -> None:
    def failing() -> Iterator[int]:
        yield from items
        raise OSError("full")

    seen = []
    with pytest.raises(OSError, match="full"):  # noqa: PT012 - what comes before it matters
        for item in ahead(failing(), depth):
            seen.append(item)
    assert seen == items


@pytest.mark.parametrize("depth", [0, 2])
def test_who_stops_early_ends_the_thread_and_what_it_iterates_over(depth: int) -> None:
    closed = []

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    items = ahead(endless(), depth)
    assert next(items) == 1
    items.close()  # type: ignore[attr-defined]
    assert closed == [True]
    assert threads() == 0


def test_it_is_at_most_so_far_ahead() -> None:
    made, seen = [], []

    def counting() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            yield number

    for item in ahead(counting(), 3):
        seen.append(item)
        # Three wait, one is being handed over, and one more has been made for the next place.
        assert len(made) <= len(seen) + 3 + 2


def files(folder: Path) -> list[Path]:
    paths = []
    for index in range(6):
        paths.append(folder / f"{index}.png")
        Image.new("L", (12 + index, 9), 20 * index).save(paths[-1])
    paths[2].write_bytes(b"\x89PNG\r\n\x1a\n torn")
    pages = [Image.new("L", (8, 8), value) for value in (0, 50, 100)]
    pages[0].save(folder / "cine.tif", save_all=True, append_images=pages[1:])
    return [*paths, folder / "cine.tif"]


def predict(frame: ScanFrame) -> int:
    value = int(frame.pixels.max())
    if value == 60:
        raise ValueError("odd")
    return value


def write(frame: ScanFrame, value: int) -> FileResult:
    if value == 80:
        raise ValueError("unwritable")
    return FileResult(frame.path, results=[{"name": frame.name, "value": value}], size=(1, 1))


@pytest.mark.parametrize("depth", [1, 3])
def test_results_are_the_same_whether_the_steps_overlap_or_not(tmp_path: Path, depth: int) -> None:
    paths = files(tmp_path)
    plain = list(process_files(paths, predict, write, frames="all"))
    both = list(process_files(paths, predict, write, frames="all", pipeline=Pipeline(depth=depth)))
    assert both == plain
    assert [result.error is None for result in plain] == [1, 1, 0, 0, 0, 1, 1, 1, 1]
    assert [entry["value"] for r in plain for entry in r.results] == [0, 20, 100, 0, 50, 100]


def test_each_file_is_closed_once_its_results_are_written_and_not_before(tmp_path: Path) -> None:
    still_open: set[Path] = set()

    @contextmanager
    def opened(path: Path) -> Iterator[Scan]:
        scan = read_scan(path)
        still_open.add(path)
        yield scan
        still_open.remove(path)

    finished = []

    def finish(scan: Scan, name: str, results: object) -> tuple[list[Path], list[str]]:
        assert scan.source in still_open
        finished.append(name)
        return [], []

    def completed(scan: Scan, result: FileResult) -> FileResult:
        assert scan.source in still_open
        return replace(result, notes=(*result.notes, "measured"))

    how = Pipeline(opened, depth=2, complete=completed)
    results = list(
        process_files(files(tmp_path), predict, write, frames="all", finish=finish, pipeline=how)
    )
    assert still_open == set()
    assert finished == ["0", "1", "5", "cine"]
    frames = [result for result in results if result.error is None and result.size]
    assert len(frames) == 6
    assert all(result.notes == ("measured",) for result in frames)


def test_a_full_disk_ends_all_steps(tmp_path: Path) -> None:
    def full(frame: ScanFrame, value: int) -> FileResult:
        raise DiskFullError("No space.")

    with pytest.raises(DiskFullError):
        list(process_files(files(tmp_path), predict, full, pipeline=Pipeline(depth=2)))
    assert threads() == 0


def test_pixels_are_those_of_the_scan(tmp_path: Path) -> None:
    seen = []
    paths = [path for path in files(tmp_path) if path.name != "2.png"]
    list(process_files(paths, lambda frame: seen.append(frame) or 0, write, frames="all"))
    for frame in seen:
        assert np.array_equal(frame.pixels, read_scan(frame.path).frame(frame.index))
