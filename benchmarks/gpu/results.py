"""Results that are on disk as soon as they exist: one JSON file, written whole at each change.

Only the standard library: the kit reads them before any package is installed.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any


class Results:
    """A JSON object of values and lists; ``failed`` lists what went wrong."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content: dict[str, Any] = {"failed": []}
        if path.exists():
            self.content |= json.loads(path.read_text())

    @property
    def failed(self) -> list[str]:
        found: list[str] = self.content["failed"]
        return found

    def put(self, key: str, value: Any) -> None:
        self.content[key] = value
        self._write()

    def add(self, key: str, value: dict[str, Any]) -> None:
        """Append to a list, and say it in the log."""
        print(json.dumps(value), flush=True)
        self.content.setdefault(key, []).append(value)
        self._write()

    def fail(self, what: str, error: BaseException) -> None:
        """Note what failed; its traceback goes to the log."""
        traceback.print_exception(error, file=sys.stdout)
        text = " ".join(f"{type(error).__name__}: {error}".split())
        self.failed.append(f"{what}: {text[:300]}")
        self._write()

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        part.write_text(json.dumps(self.content, indent=1))
        part.replace(self.path)
