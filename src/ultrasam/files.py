"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from ultrasam.errors import UltraSamError


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file beside its place and rename it, so that it is there whole or not at all.

    Raises:
        UltraSamError: the disk is full, or the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            # mkstemp makes files for their owner alone; a result is like any other file.
            mask = os.umask(0)
            os.umask(mask)
            Path(name).chmod(0o666 & ~mask)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UltraSamError(f"{path} cannot be written: {error.strerror}.") from error


def write_json(path: Path, content: Any) -> None:
    """JSON, one entry a line where it is a list."""
    if isinstance(content, list):
        text = "[\n" + ",\n".join(json.dumps(entry) for entry in content) + "\n]\n"
    else:
        text = json.dumps(content, indent=1) + "\n"
    atomic_write(path, text.encode())
