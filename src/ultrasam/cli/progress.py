"""Progress bars on standard error, if it is a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ultrasam.progress import OnProgress


@contextmanager
def progress_bar(title: str) -> Iterator[OnProgress]:
    """A bar, which vanishes with the block; gives the callback that moves it.

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
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
        TimeRemainingColumn(), TextColumn("{task.fields[note]}", markup=False),
    )  # fmt: skip
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(title, total=None, note="")

        def on_progress(done: int, total: int, /, **info: Any) -> None:
            note = "  ".join(_note(name, value) for name, value in info.items())
            bar.update(task, completed=done, total=total, note=note)

        yield on_progress


def _note(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,} {name}" if isinstance(value, int) else f"{name} {value:.3f}"
