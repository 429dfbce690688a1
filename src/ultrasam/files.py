"""Files that are there whole or not at all.

Each is written under another name beside its place and renamed, so a reader, a kill or a full disk never
leaves half of one. A file that a kill leaves behind is called ``.NAME.<random>.part``.
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
    """A file to write into that takes its place when the block ends, and is removed if that raises.

    Raises:
        UltraSamError: the folder cannot be written to.
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
    """Write a file whole; text as UTF-8, its line ends as they are.

    Raises:
        UltraSamError: the disk is full, or the folder cannot be written to.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        with atomic_file(path) as file:
            file.write(data)
    except OSError as error:
        raise _unwritable(path, error) from error


def update_file(path: Path, content: bytes | str) -> None:
    """Write a file whole; one that holds just this stays as it is, with its time.

    Raises:
        UltraSamError: the disk is full, or the folder cannot be written to.
    """
    data = content.encode() if isinstance(content, str) else content
    if path.exists() and path.stat().st_size == len(data) and path.read_bytes() == data:
        return
    atomic_write(path, data)


def write_json(path: Path, content: Any) -> None:
    """JSON, one entry a line where it is a list.

    Raises:
        UltraSamError: the disk is full, or the folder cannot be written to.
    """
    if isinstance(content, list):
        text = "[\n" + ",\n".join(json.dumps(entry) for entry in content) + "\n]\n"
    else:
        text = json.dumps(content, indent=1) + "\n"
    atomic_write(path, text)


def _unwritable(path: Path, error: OSError) -> UltraSamError:
    return UltraSamError(f"{path} cannot be written: {one_line(error)}.")
