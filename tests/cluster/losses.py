"""Worker processes that end without a word, or with all their kin, at a chosen file.

Python imports ``sitecustomize`` at its start, in every worker of every engine, so a hook there needs no help
from the code that it tests.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_HOOK = """
import os, sys
folder = os.environ.get("TEST_LOSSES")

def hook(event, arguments):
    if event != "open" or not isinstance(arguments[0], str) or not arguments[0].endswith(".png"):
        return
    name = os.path.basename(arguments[0])
    always, once = (os.path.join(folder, f"{kind}-{name}") for kind in ("always", "once"))
    if os.path.exists(always):
        os._exit(3)
    try:
        os.remove(once)
    except OSError:
        return
    os._exit(3)

if folder:
    sys.addaudithook(hook)
"""


class Losses:
    """Says at which files a process ends."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder / "losses"
        hooks = folder / "hooks"
        self.folder.mkdir()
        hooks.mkdir()
        (hooks / "sitecustomize.py").write_text(_HOOK)
        monkeypatch.setenv("TEST_LOSSES", str(self.folder))
        found = os.environ.get("PYTHONPATH", "")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(hooks), *([found] if found else [])]))

    def once(self, path: Path) -> None:
        """The process that opens this file first ends."""
        (self.folder / f"once-{path.name}").touch()

    def always(self, path: Path) -> None:
        """Each process that opens this file ends."""
        (self.folder / f"always-{path.name}").touch()

    @property
    def left(self) -> int:
        """How many ends have not come."""
        return len(list(self.folder.glob("once-*")))
