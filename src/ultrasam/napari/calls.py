"""Calls: what asks the server, one after another and not in the thread that draws."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, QRunnable, QThreadPool, Signal

from ultrasam.errors import UltraSamError


class _Signals(QObject):  # type: ignore[misc]
    done = Signal(object)
    failed = Signal(object)


class _Call(QRunnable):  # type: ignore[misc]
    def __init__(self, run: Callable[[], Any]) -> None:
        super().__init__()
        self.signals = _Signals()
        self._run = run

    def run(self) -> None:
        try:
            self.signals.done.emit(self._run())
        except Exception as error:
            self.signals.failed.emit(error)


class Calls(QObject):  # type: ignore[misc]
    """Runs calls in their order, in another thread, and gives their results to the thread that owns it.

    Args:
        failed: is given what a call raises.
        parent: of Qt.
    """

    changed = Signal()
    """How many calls wait has changed."""

    def __init__(self, failed: Callable[[UltraSamError], None], parent: Any = None) -> None:
        super().__init__(parent)
        self._failed = failed
        self._pool = QThreadPool(self)
        self._pool.setMaxThreadCount(1)
        self._waiting: deque[tuple[Callable[[], Any], Callable[[Any], None]]] = deque()
        self._running: _Call | None = None
        self._then: Callable[[Any], None] = lambda _: None

    @property
    def busy(self) -> bool:
        """Whether a call runs or waits."""
        return self._running is not None

    def put(self, run: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Run a call after those that wait, and hand its result to ``then``."""
        self._waiting.append((run, then))
        if self._running is None:
            self._next()

    def close(self) -> None:
        """Forget the calls that wait, and wait for the one that runs."""
        self._waiting.clear()
        self._pool.waitForDone()

    def _next(self) -> None:
        if not self._waiting:
            self._running = None
            self.changed.emit()
            return
        run, then = self._waiting.popleft()
        call = self._running = _Call(run)
        call.setAutoDelete(False)
        self._then = then
        # Methods of a QObject run in its own thread; functions would run in the one that calls.
        call.signals.done.connect(self._ended)
        call.signals.failed.connect(self._raised)
        self.changed.emit()
        self._pool.start(call)

    def _ended(self, result: Any) -> None:
        try:
            self._then(result)
        finally:
            self._next()

    def _raised(self, error: Exception) -> None:
        self._waiting.clear()  # what was asked after it was meant for its result
        try:
            if not isinstance(error, UltraSamError):
                raise error
            self._failed(error)
        finally:
            self._next()
