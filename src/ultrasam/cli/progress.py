"""Progress bars on standard error, as long as a terminal shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ultrasam.progress import OnProgress


@contextmanager
def progress_bars() -> Iterator[Callable[[str], OnProgress]]:
    """What makes a bar of a title, and gives the callback that moves it; they vanish with the block.

    What the callback gets by name stands behind the bar: text as it is, a count before its name, another
    number after it.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )  # fmt: skip
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as shown:

        def bar(title: str) -> OnProgress:
            task = shown.add_task(title, total=None, note="")

            def move(done: int, total: int, /, **info: Any) -> None:
                note = ", ".join(_told(name, value) for name, value in info.items())
                shown.update(task, completed=done, total=total, note=note)

            return move

        yield bar


@contextmanager
def progress_bar(title: str) -> Iterator[OnProgress]:
    """One bar; gives the callback that moves it."""
    with progress_bars() as bar:
        yield bar(title)


def _told(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,} {name}" if isinstance(value, int) else f"{name} {value:.3g}"
