"""The worker: what is urgent goes first, and what nobody waits for waits for a pause."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from tests.annotate.conftest import Page
from ultrasam.annotate import worker as worker_module
from ultrasam.annotate.worker import Priority, Worker


class Clock:
    """A time that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(worker_module, "time", made)
    return made


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker(patience=0.0)
    yield made
    made.close()


def test_the_most_urgent_is_done_first_and_equals_in_their_order(worker: Worker) -> None:
    hold, done = threading.Event(), list[str]()
    worker.submit(Priority.stroke, hold.wait)
    last = worker.submit(Priority.prefetch, lambda: done.append("prefetch"))
    for name in ("open", "preview", "stroke"):
        worker.submit(Priority[name], lambda name=name: done.append(name))  # type: ignore[misc]
    worker.submit(Priority.stroke, lambda: done.append("second stroke"))
    hold.set()
    last.result(30)
    assert done == ["stroke", "second stroke", "preview", "open", "prefetch"]


def test_only_the_newest_of_a_group_is_done(worker: Worker) -> None:
    hold = threading.Event()
    worker.submit(Priority.stroke, hold.wait)
    earlier = worker.submit(Priority.preview, lambda: "earlier", group="preview anna")
    other = worker.submit(Priority.preview, lambda: "other", group="preview bob")
    newest = worker.submit(Priority.preview, lambda: "newest", group="preview anna")
    hold.set()
    assert (newest.result(30), other.result(30)) == ("newest", "other")
    with pytest.raises(CancelledError):
        earlier.result(30)


@pytest.mark.parametrize(("takes", "pause"), [(0.2, 1.5), (1.4, 1.5), (6.0, 6.0)])
def test_a_prefetch_waits_for_a_pause_that_is_longer_than_it_takes(
    clock: Clock, takes: float, pause: float
) -> None:
    worker = Worker(patience=1.5, duration=lambda: takes)
    try:
        worker.submit(Priority.stroke, lambda: None).result(30)
        prefetch = worker.submit(Priority.prefetch, lambda: clock.now)
        clock.now += pause - 0.01
        worker.submit(Priority.stroke, lambda: None).result(30)  # begins the pause anew
        clock.now += pause - 0.01
        worker.submit(Priority.prefetch, lambda: None)  # lets the worker look at the clock again
        time.sleep(0.1)
        assert not prefetch.done()
        clock.now += 0.02
        assert prefetch.result(30) == pytest.approx(100 + 2 * pause)
    finally:
        worker.close()


def test_a_task_that_fails_stops_no_other(worker: Worker) -> None:
    failed = worker.submit(Priority.stroke, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        failed.result(30)
    assert worker.submit(Priority.stroke, lambda: 7).result(30) == 7


def test_what_waits_when_the_worker_closes_is_canceled_and_nothing_is_taken_after() -> None:
    worker, begun, hold = Worker(), threading.Event(), threading.Event()

    def run() -> bool:
        begun.set()
        return hold.wait(30)

    runs = worker.submit(Priority.stroke, run)
    assert begun.wait(30)
    waits = worker.submit(Priority.stroke, lambda: None)
    threading.Timer(0.05, hold.set).start()
    worker.close()
    assert runs.result() is True
    assert waits.cancelled()
    assert worker.submit(Priority.stroke, lambda: None).cancelled()


def test_the_time_of_encodings_is_measured_and_files_on_disk_do_not_count(
    page: Page, folder: Path
) -> None:
    segmentation = page.annotator.segmentation
    image = page.id("a.png")
    start = time.perf_counter()
    assert page.post(f"/images/{image}/open", {"frame": 0}).status_code == 200
    spent = time.perf_counter() - start
    first = segmentation.encoding_s
    assert 0 < first < spent
    segmentation._ready.clear()
    page.post(f"/images/{image}/open", {"frame": 0})
    assert segmentation.encoding_s == first
