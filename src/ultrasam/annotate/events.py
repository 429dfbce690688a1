"""Events: what happens in a project, for every page that listens."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

Event = dict[str, Any]
_MOST = 1000  # events that wait for one listener; a slower one loses the oldest


class Events:
    """Hands each event to every listener; `publish` may be called from any thread."""

    def __init__(self) -> None:
        self._listeners: list[tuple[asyncio.AbstractEventLoop, asyncio.Queue[Event | None]]] = []
        self._lock = threading.Lock()
        self._closed = False

    def publish(self, kind: str, /, **facts: Any) -> None:
        """Tell all listeners; ``facts`` must be what JSON can hold."""
        self._put({"event": kind, "data": facts})

    async def listen(self, *, pulse: float = 15.0) -> AsyncIterator[Event | None]:
        """The events from now on; None after ``pulse`` seconds without one, and ends when closed."""
        own: asyncio.Queue[Event | None] = asyncio.Queue(_MOST)
        listener = asyncio.get_running_loop(), own
        with self._lock:
            if self._closed:
                return
            self._listeners.append(listener)
        try:
            while True:
                try:
                    event = await asyncio.wait_for(own.get(), pulse)
                except TimeoutError:
                    yield None
                    continue
                if event is None:
                    return
                yield event
        finally:
            with self._lock:
                self._listeners.remove(listener)

    def close(self) -> None:
        """End all listeners."""
        self._put(None)
        with self._lock:
            self._closed = True

    def _put(self, event: Event | None) -> None:
        with self._lock:
            for loop, own in self._listeners:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(_put, own, event)


def _put(own: asyncio.Queue[Event | None], event: Event | None) -> None:
    if own.full():
        own.get_nowait()
    own.put_nowait(event)
