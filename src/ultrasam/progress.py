"""The one callback by which long work tells how far it is."""

from __future__ import annotations

from typing import Any, Protocol


class OnProgress(Protocol):
    """Called with how much is done of how much, and with what else may be shown, by name."""

    def __call__(self, done: int, total: int, /, **info: Any) -> object: ...


def no_progress(done: int, total: int, /, **info: Any) -> None:
    """Tells nobody."""
