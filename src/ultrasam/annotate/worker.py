"""Worker: one thread that does what needs the model, the most urgent first."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, TypeVar

T = TypeVar("T")


class Priority(IntEnum):
    """What is done first."""

    stroke = 0
    preview = 1
    open = 2
    prefetch = 3


@dataclass(order=True, slots=True)
class _Task:
    priority: Priority
    number: int
    run: Callable[[], Any] = field(compare=False)
    future: Future[Any] = field(compare=False)
    group: str | None = field(compare=False, default=None)


class Worker:
    """Runs tasks one by one, by priority and then in their order.

    Nothing can interrupt a prefetch that runs, so that a click in the meantime waits for it. One begins only
    after a pause that is longer than it takes: who has paused that long will hardly go on within as long.

    Args:
        patience: seconds without any other task before a prefetch begins, at least.
        duration: says how many seconds a prefetch takes, as far as is known; a longer pause is waited for.
    """

    def __init__(
        self, *, patience: float = 1.5, duration: Callable[[], float] = lambda: 0.0
    ) -> None:
        self._tasks: list[_Task] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._closed = False
        self._patience, self._duration = patience, duration
        self._busy_until = 0.0
        self._thread = threading.Thread(target=self._work, name="annotate worker", daemon=True)
        self._thread.start()

    def submit(
        self, priority: Priority, run: Callable[[], T], *, group: str | None = None
    ) -> Future[T]:
        """Put a task in the queue.

        Args:
            group: of tasks of which only the newest counts: those of the group that wait are canceled.
        """
        future: Future[T] = Future()
        with self._changed:
            if self._closed:
                future.cancel()
                return future
            if group is not None:
                for task in [task for task in self._tasks if task.group == group]:
                    task.future.cancel()
                    self._tasks.remove(task)
                heapq.heapify(self._tasks)
            heapq.heappush(self._tasks, _Task(priority, next(self._numbers), run, future, group))
            self._changed.notify()
        return future

    def cancel(self, group: str) -> None:
        """Cancel the tasks of a group that wait."""
        with self._changed:
            for task in [task for task in self._tasks if task.group == group]:
                task.future.cancel()
                self._tasks.remove(task)
            heapq.heapify(self._tasks)

    @property
    def waiting(self) -> int:
        """How many tasks wait."""
        with self._changed:
            return len(self._tasks)

    def close(self) -> None:
        """Finish the task that runs, and cancel those that wait."""
        with self._changed:
            self._closed = True
            for task in self._tasks:
                task.future.cancel()
            self._tasks.clear()
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _work(self) -> None:
        while (task := self._next()) is not None:
            if not task.future.set_running_or_notify_cancel():
                continue
            try:
                result = task.run()
            except BaseException as error:
                self._end(task)
                task.future.set_exception(error)
            else:
                self._end(task)
                task.future.set_result(result)

    def _end(self, task: _Task) -> None:
        """Note the time, before who waits for the task goes on."""
        if task.priority is not Priority.prefetch:
            self._busy_until = time.monotonic()

    def _next(self) -> _Task | None:
        with self._changed:
            while not self._closed:
                if not self._tasks:
                    self._changed.wait()
                    continue
                if self._tasks[0].priority is not Priority.prefetch:
                    return heapq.heappop(self._tasks)
                pause = max(self._patience, self._duration())
                rest = self._busy_until + pause - time.monotonic()
                if rest <= 0:
                    return heapq.heappop(self._tasks)
                self._changed.wait(rest)
            return None
