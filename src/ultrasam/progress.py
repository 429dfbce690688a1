"""The callback that reports the progress of long operations."""

from __future__ import annotations

from typing import Any, Protocol


class OnProgress(Protocol):
    """Called as ``on_progress(done, total, **info)``; ``info`` holds named values to display."""

    def __call__(self, done: int, total: int, /, **info: Any) -> object: ...


def no_progress(done: int, total: int, /, **info: Any) -> None:
    """Ignore progress."""
