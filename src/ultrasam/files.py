"""Atomic file writes: a file is complete or absent.

Each file is written under a temporary name in the same folder and then renamed, so an interruption or a full
disk never leaves a partial file. An interrupted write may leave ``.NAME.<random>.part`` behind.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ultrasam.errors import UltraSamError, one_line


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that replaces ``path`` when the block ends, or is deleted if the block raises.

    Raises:
        UltraSamError: The folder is not writable.
    """
    part = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = part.open("xb")
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with file:
            yield file
        try:
            part.replace(path)
        except OSError as error:
            raise _unwritable(path, error) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def atomic_write(path: Path, content: bytes | str) -> None:
    """Write a file atomically; text as UTF-8 with its line endings unchanged.

    Raises:
        UltraSamError: The disk is full, or the folder is not writable.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        with atomic_file(path) as file:
            file.write(data)
    except OSError as error:
        raise _unwritable(path, error) from error


def update_file(path: Path, content: bytes | str) -> None:
    """Write a file atomically unless it already has this content; its modification time then stays.

    Raises:
        UltraSamError: The disk is full, or the folder is not writable.
    """
    data = content.encode() if isinstance(content, str) else content
    if path.exists() and path.stat().st_size == len(data) and path.read_bytes() == data:
        return
    atomic_write(path, data)


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically; a list gets one entry per line.

    Raises:
        UltraSamError: The disk is full, or the folder is not writable.
    """
    if isinstance(content, list):
        text = "[\n" + ",\n".join(json.dumps(entry) for entry in content) + "\n]\n"
    else:
        text = json.dumps(content, indent=1) + "\n"
    atomic_write(path, text)


def _unwritable(path: Path, error: OSError) -> UltraSamError:
    return UltraSamError(f"Cannot write {path}: {one_line(error)}.")
