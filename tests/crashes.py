"""The end of a process at a chosen write, without waiting for the right moment.

Python tells an audit hook of every file that is opened, renamed or removed, whoever does it. So a test needs
to know nothing of how the code writes: it runs it once for each of its changes to a folder.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}


class Killed(BaseException):
    """Stands for SIGKILL: no code may catch it, and after it no change reaches the disk."""


@dataclass
class Changes:
    """The changes to a folder and all below it: how many there were, and which was the last."""

    folder: Path
    last: int | None = None
    count: int = 0
    dead: bool = False

    def see(self, event: str, arguments: tuple[object, ...]) -> None:
        path = arguments[1 if event == "os.rename" else 0]
        if not isinstance(path, str | bytes | os.PathLike):
            return  # a number: a file that was opened before
        where = Path(os.fsdecode(path)).absolute()
        if not where.is_relative_to(self.folder):
            return
        if self.dead:
            raise Killed
        self.count += 1
        if self.count == self.last:
            self.dead = True
            if event == "open":
                _tear(where)
            raise Killed


_watched: list[Changes] = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if not _watched or event not in _CHANGES:
        return
    if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & _WRITING):
        return
    for changes in list(_watched):
        changes.see(event, arguments)


def _tear(path: Path) -> None:
    """Leave what a write leaves that was cut off soon after it began."""
    held, _watched[:] = _watched[:], []
    try:
        path.write_bytes(b"\x89torn")
    finally:
        _watched[:] = held


@contextmanager
def killed_at(folder: Path, last: int | None = None) -> Iterator[Changes]:
    """Run the block until its ``last`` change to the folder, of which half is done; None counts alone."""
    if _hook not in _installed:
        sys.addaudithook(_hook)  # for good: it cannot be taken away
        _installed.append(_hook)
    changes = Changes(folder.absolute(), last)
    _watched.append(changes)
    try:
        yield changes
    except Killed:
        pass
    finally:
        _watched.remove(changes)


_installed: list[object] = []


def kill_this_process_before(name: str, at: int) -> None:
    """SIGKILL this process just before a file is given the name ``name`` for the ``at``-th time."""
    seen = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event == "os.rename" and Path(os.fsdecode(arguments[1])).name == name:  # type: ignore[arg-type]
            seen += 1
            if seen == at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
