"""Repeats: a request that a page sends again, because the answer was lost, is answered, not done again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
_MOST = 1000


class Repeats:
    """The latest results by the keys of their requests; strokes keep theirs in the project file instead."""

    def __init__(self) -> None:
        self._results: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()

    def once(self, key: str | None, run: Callable[[], T]) -> T:
        """The result of the key's first run; without a key, it runs each time."""
        if key is None:
            return run()
        with self._lock:
            if key in self._results:
                found: T = self._results[key]
                return found
            self._results[key] = result = run()
            if len(self._results) > _MOST:
                self._results.popitem(last=False)
        return result
