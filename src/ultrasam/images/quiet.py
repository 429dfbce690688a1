"""Silence libraries that report what our errors report too, also while several threads read.

What is silenced is a setting of the process. Threads that set it and set it back on their own would restore
each other's value, and leave it changed.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from ultrasam.errors import UltraSamWarning

# FFmpeg and OpenCV print to the terminal, bypassing Python.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


class _Shared:
    """A setting that the first of several users changes and the last one restores."""

    def __init__(self, change: Callable[[], Callable[[], object]]) -> None:
        self._change = change
        self._lock = Lock()
        self._users = 0
        self._restore: Callable[[], object] = lambda: None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if not self._users:
                self._restore = self._change()
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._restore()


def _ignore_warnings() -> Callable[[], object]:
    action: Any = next((f[0] for f in warnings.filters if _is_for_ours(f)), "default")
    saved = warnings.catch_warnings()
    saved.__enter__()
    warnings.simplefilter("ignore")
    warnings.simplefilter(action, UltraSamWarning)  # what we say ourselves
    return lambda: saved.__exit__(None, None, None)


def _is_for_ours(entry: Any) -> bool:
    """Whether a filter of warnings concerns our own, wherever they arise."""
    _, message, category, module, _ = entry
    return message is None and module is None and issubclass(UltraSamWarning, category)


def _silence_opencv() -> Callable[[], object]:
    import cv2

    set_level: Any = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel  # 4, 5
    level = set_level(0)
    return lambda: set_level(level)


quiet_warnings = _Shared(_ignore_warnings)
"""Context manager: no thread's Python warnings are shown but our own."""

quiet_opencv = _Shared(_silence_opencv)
"""Context manager: OpenCV prints nothing."""
