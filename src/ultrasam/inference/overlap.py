"""Let one stage of a pipeline work while the next is busy: an iterator that runs ahead in a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import Empty, Full, Queue
from typing import TypeVar

T = TypeVar("T")

_POLL_S = 0.1
_End = BaseException | None


def ahead(items: Iterator[T], depth: int) -> Iterator[T]:
    """Iterate over ``items`` in a thread, which is up to ``depth`` items ahead of the caller.

    Order and errors are those of ``items``: an error comes after the items before it. If the caller stops
    early, so does the thread, after the item that it is at.

    Args:
        items: used by the thread alone, from now on.
        depth: how many items wait for the caller, at most; 0 runs no thread.

    Example:
        >>> list(ahead(iter("abc"), 2))
        ['a', 'b', 'c']
    """
    if depth == 0:
        yield from items
        return
    waiting: Queue[tuple[T] | _End] = Queue(depth)
    stopped = threading.Event()

    def put(item: tuple[T] | _End) -> None:
        while not stopped.is_set():
            try:
                waiting.put(item, timeout=_POLL_S)
            except Full:
                continue
            return

    def work() -> None:
        end: _End = None
        try:
            for item in items:
                put((item,))
                if stopped.is_set():
                    break
        except BaseException as error:
            end = error
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
            put(end)

    thread = threading.Thread(target=work, daemon=True, name="ahead")
    thread.start()
    try:
        while True:
            try:
                # Waking now and then lets Ctrl-C through on every system.
                item = waiting.get(timeout=_POLL_S)
            except Empty:
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item[0]
    finally:
        stopped.set()
        thread.join()
