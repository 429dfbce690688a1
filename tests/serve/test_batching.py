"""The worker: first come, first served; encodings in batches; what is canceled is not done."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError

import numpy as np
import pytest

from tests.serve.conftest import FakeModel, until
from ultrasam.serve.batching import BatchingWorker, best_batch


def inputs(value: int, views: int = 1) -> np.ndarray:
    return np.full((views, 3, 2, 2), value, np.float32)


def started(model: FakeModel) -> BatchingWorker:
    worker = BatchingWorker(lambda: (model.backend.encode, model.batch))
    worker.start()
    return worker


@pytest.fixture
def model() -> FakeModel:
    return FakeModel(batch=4)


@pytest.fixture
def worker(model: FakeModel) -> Iterator[BatchingWorker]:
    made = started(model)
    yield made
    model.gate.set()
    made.close()


def test_encodings_that_wait_are_done_together_up_to_the_batch(
    worker: BatchingWorker, model: FakeModel
) -> None:
    first = worker.encode(0, inputs(0))
    until(lambda: model.started == 1)
    others = [worker.encode(order, inputs(order)) for order in range(1, 8)]
    model.gate.set()
    found = [int(one.result(30).result[0]["image"][0]) for one in (first, *others)]
    assert found == list(range(8))
    assert model.encoded == [1, 4, 3]


def test_views_of_a_frame_stay_together(worker: BatchingWorker, model: FakeModel) -> None:
    worker.encode(0, inputs(0))
    until(lambda: model.started == 1)
    others = [worker.encode(order, inputs(order, views=3)) for order in (1, 2)]
    model.gate.set()
    assert [len(one.result(30).result) for one in others] == [3, 3]
    assert model.encoded == [1, 3, 3]


def test_what_came_first_is_done_first_whatever_it_is(
    worker: BatchingWorker, model: FakeModel
) -> None:
    done = list[str]()
    worker.encode(0, inputs(0))
    until(lambda: model.started == 1)
    late = worker.run(9, lambda: done.append("late"))
    encoding = worker.encode(5, inputs(1))
    encoding.add_done_callback(lambda _: done.append("encoding"))
    worker.run(2, lambda: done.append("early"))
    model.gate.set()
    late.result(30)
    assert done == ["early", "encoding", "late"]


def test_what_is_canceled_before_it_begins_is_not_done(
    worker: BatchingWorker, model: FakeModel
) -> None:
    worker.encode(0, inputs(0))
    until(lambda: model.started == 1)
    dropped, kept = worker.encode(1, inputs(1)), worker.encode(2, inputs(2))
    assert dropped.cancel()
    model.gate.set()
    assert kept.result(30).result[0]["image"][0] == 2
    assert model.encoded == [1, 1]


def test_one_that_fails_in_a_batch_costs_the_others_nothing(
    worker: BatchingWorker, model: FakeModel
) -> None:
    model.failing = {2}
    worker.encode(0, inputs(0))
    until(lambda: model.started == 1)
    bad, good = worker.encode(1, inputs(2)), worker.encode(2, inputs(3))
    model.gate.set()
    with pytest.raises(MemoryError):
        bad.result(30)
    assert good.result(30).result[0]["image"][0] == 3


def test_closing_finishes_what_runs_and_cancels_what_waits() -> None:
    model = FakeModel()
    worker = started(model)
    running = worker.encode(0, inputs(0))
    until(lambda: model.started == 1)
    waiting = worker.encode(1, inputs(1))
    closer = threading.Thread(target=worker.close)
    closer.start()
    with pytest.raises(CancelledError):
        waiting.result(30)
    model.gate.set()
    closer.join()
    assert running.result(0).result[0]["image"][0] == 0
    assert worker.encode(2, inputs(2)).cancelled()


def test_a_model_that_cannot_be_loaded_is_told() -> None:
    told = list[BaseException | None]()

    def prepare() -> tuple[object, int]:
        raise OSError("no weights")

    worker = BatchingWorker(prepare, began=told.append)  # type: ignore[arg-type]
    worker.start()
    until(lambda: bool(told))
    assert isinstance(told[0], OSError)
    worker.close()


@pytest.mark.parametrize(
    ("fixed_s", "per_image_s", "batch"),
    [(0.02, 0.0005, 16), (0.0, 0.004, 1)],
)
def test_a_batch_is_only_as_large_as_pays(
    monkeypatch: pytest.MonkeyPatch, fixed_s: float, per_image_s: float, batch: int
) -> None:
    now = 0.0

    def encode(images: np.ndarray) -> list[object]:
        nonlocal now
        now += fixed_s + per_image_s * len(images)
        return []

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    found, seconds = best_batch(encode, inputs(0), most=16)
    assert found == batch
    assert seconds == pytest.approx(fixed_s / batch + per_image_s)
