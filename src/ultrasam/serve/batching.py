"""BatchingWorker: one thread that owns the model, takes what was asked for first, and encodes in batches."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ultrasam.prompts import Float32

Encode = Callable[[Float32], Sequence[Any]]
_GAIN = 0.1  # of time per image that a batch twice as large must save
_LONGEST_S = 1.0  # of a batch; who waits for a click should not wait longer
_REPEATS = 3


@dataclass(slots=True)
class Done:
    """What came of a job, and how long it took.

    Attributes:
        result: what it returned.
        queued_s: seconds before it began.
        ran_s: seconds that it took; of a batch, its share.
    """

    result: Any
    queued_s: float
    ran_s: float


@dataclass(order=True, slots=True)
class _Job:
    order: int
    number: int
    future: Future[Done] = field(compare=False)
    inputs: Float32 | None = field(compare=False, default=None)
    run: Callable[[], Any] | None = field(compare=False, default=None)
    asked: float = field(compare=False, default_factory=time.perf_counter)


class BatchingWorker:
    """Runs jobs in the order in which their requests came.

    A job whose future is canceled before it begins is dropped.

    Args:
        prepare: is called first, in the thread; returns what encodes [B, 3, S, S], and the largest B.
        began: is called with None when it has returned, or with what it raised, which ends the thread.
    """

    def __init__(
        self,
        prepare: Callable[[], tuple[Encode, int]],
        *,
        began: Callable[[BaseException | None], object] = lambda error: None,
        on_batch: Callable[[int], object] = lambda size: None,
    ) -> None:
        self._prepare, self._began, self._on_batch = prepare, began, on_batch
        self._encodes: list[_Job] = []
        self._others: list[_Job] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def encode(self, order: int, inputs: Float32) -> Future[Done]:
        """Encode the views of a frame, [V, 3, S, S]; the result is a list of V embeddings.

        Args:
            order: of the request, which says what comes first.
        """
        return self._put(self._encodes, _Job(order, next(self._numbers), Future(), inputs=inputs))

    def run(self, order: int, what: Callable[[], Any]) -> Future[Done]:
        """Run something that uses the model."""
        return self._put(self._others, _Job(order, next(self._numbers), Future(), run=what))

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        with self._changed:
            return len(self._encodes) + len(self._others)

    def close(self) -> None:
        """Finish what runs, and cancel what waits."""
        with self._changed:
            self._closed = True
            for job in (*self._encodes, *self._others):
                job.future.cancel()
            self._encodes.clear()
            self._others.clear()
            self._changed.notify()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()

    def _put(self, jobs: list[_Job], job: _Job) -> Future[Done]:
        with self._changed:
            if self._closed:
                job.future.cancel()
            else:
                heapq.heappush(jobs, job)
                self._changed.notify()
        return job.future

    def _work(self) -> None:
        try:
            encode, most = self._prepare()
        except BaseException as error:
            self._began(error)
            return
        self._began(None)
        while (jobs := self._next(most)) is not None:
            if jobs and jobs[0].run is not None:
                self._run(jobs[0])
            elif jobs:
                self._encode(jobs, encode)

    def _next(self, most: int) -> list[_Job] | None:
        """The next job, or encodings that fit in a batch; without those that were canceled."""
        with self._changed:
            while not self._closed and not self._encodes and not self._others:
                self._changed.wait()
            if self._closed:
                return None
            if self._others and (not self._encodes or self._others[0] < self._encodes[0]):
                return _begun([heapq.heappop(self._others)])
            batch, size = list[_Job](), 0
            while self._encodes:
                inputs = self._encodes[0].inputs
                assert inputs is not None
                if batch and size + len(inputs) > most:
                    break
                found = _begun([heapq.heappop(self._encodes)])
                batch += found
                size += len(inputs) if found else 0
            return batch

    def _run(self, job: _Job) -> None:
        assert job.run is not None
        start = time.perf_counter()
        try:
            result = job.run()
        except BaseException as error:
            job.future.set_exception(error)
        else:
            ran = time.perf_counter() - start
            job.future.set_result(Done(result, start - job.asked, ran))

    def _encode(self, jobs: list[_Job], encode: Encode) -> None:
        inputs = [job.inputs for job in jobs if job.inputs is not None]
        start = time.perf_counter()
        try:
            joined = inputs[0] if len(inputs) == 1 else np.concatenate(inputs)
            found = list(encode(joined))
        except BaseException as error:
            if len(jobs) == 1:
                jobs[0].future.set_exception(error)
                return
            for job in jobs:  # such as for want of memory; one may be to blame for all
                self._encode([job], encode)
            return
        self._on_batch(len(joined))
        ran, place = time.perf_counter() - start, 0
        for job, part in zip(jobs, inputs, strict=True):
            own = found[place : place + len(part)]
            place += len(part)
            share = ran * len(part) / len(joined)
            job.future.set_result(Done(own, start - job.asked, share))


def best_batch(encode: Encode, inputs: Float32, *, most: int) -> tuple[int, float]:
    """The largest batch that pays: each doubling must save a tenth of the time per image.

    Args:
        encode: encodes [B, 3, S, S].
        inputs: of one image, [1, 3, S, S].
        most: no larger batch is tried.

    Returns:
        The batch, and the seconds per image in it.
    """
    best, per_image, batch = 1, _seconds(encode, inputs), 2
    while batch <= most and per_image * best * 2 < _LONGEST_S:
        found = _seconds(encode, np.repeat(inputs, batch, axis=0)) / batch
        if found > per_image * (1 - _GAIN):
            break
        best, per_image, batch = batch, found, 2 * batch
    return best, per_image


def _seconds(encode: Encode, inputs: Float32) -> float:
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        encode(inputs)
        times.append(time.perf_counter() - start)
        if times[-1] > _LONGEST_S:
            break
    return min(times)


def _begun(jobs: list[_Job]) -> list[_Job]:
    return [job for job in jobs if job.future.set_running_or_notify_cancel()]
