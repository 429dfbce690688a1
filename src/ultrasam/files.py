"""Atomic file writes: a file is complete or absent.

Each file is written under a temporary name in the same folder and then renamed, so an interruption or a full
disk never leaves a partial file. An interrupted write may leave ``.NAME.<random>.part`` behind.

A full disk is one sentence wherever it is met: `no_space`.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ultrasam.errors import DataError, DiskFullError, UltraSamError, one_line
from ultrasam.text import decode_text

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
# Libraries that write by themselves (safetensors, PyTorch, Arrow) put the system's message into their own.
_FULL_MESSAGES = ("No space left on device", "os error 28", "Disk quota exceeded", "[errno 28]")


@contextmanager
def atomic_file(path: Path, *, size: int | None = None) -> Iterator[IO[bytes]]:
    """Open a temporary file that replaces ``path`` when the block ends, or is deleted if the block raises.

    Args:
        path: the file.
        size: how much will be written, in bytes, if known; a full disk's message then says it.

    Raises:
        DiskFullError: The disk is full.
        UltraSamError: The folder is not writable.
    """
    part = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = part.open("xb")
    except OSError as error:
        raise _unwritable(path, error, size=size) from error
    try:
        with file:
            yield file
        try:
            part.replace(path)
        except OSError as error:
            raise _unwritable(path, error, size=size) from error
    except BaseException as error:
        part.unlink(missing_ok=True)
        if is_disk_full(error):
            raise no_space(path, error, size=size) from error
        raise


def atomic_write(path: Path, content: bytes | str) -> None:
    """Write a file atomically; text as UTF-8 with its line endings unchanged.

    Raises:
        DiskFullError: The disk is full.
        UltraSamError: The folder is not writable.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        with atomic_file(path, size=len(data)) as file:
            file.write(data)
    except UltraSamError:
        raise
    except OSError as error:
        raise _unwritable(path, error) from error


def update_file(path: Path, content: bytes | str) -> None:
    """Write a file atomically unless it already has this content; its modification time then stays.

    Raises:
        DiskFullError: The disk is full.
        UltraSamError: The folder is not writable.
    """
    data = content.encode() if isinstance(content, str) else content
    if path.exists() and path.stat().st_size == len(data) and path.read_bytes() == data:
        return
    atomic_write(path, data)


def read_json(path: Path) -> Any:
    """Read a user's JSON file, in any common encoding.

    Raises:
        DataError: The file cannot be read, or is not JSON.
    """
    try:
        return json.loads(decode_text(path.read_bytes()))
    except OSError as error:
        raise DataError(f"Cannot read {path}: {one_line(error)}.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {one_line(error)}.") from error


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically; a list gets one entry per line.

    Raises:
        DiskFullError: The disk is full.
        UltraSamError: The folder is not writable.
    """
    if isinstance(content, list):
        text = "[\n" + ",\n".join(json.dumps(entry) for entry in content) + "\n]\n"
    else:
        text = json.dumps(content, indent=1) + "\n"
    atomic_write(path, text)


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, of any library, means that a disk or a quota is full."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return any(text in str(error) for text in _FULL_MESSAGES)


def no_space(path: Path, error: BaseException, *, size: int | None = None) -> UltraSamError:
    """What to tell the user when the disk of ``path`` is full.

    Args:
        path: the file that could not be written, or its folder.
        error: what the system said.
        size: how much was to be written, in bytes, if known.
    """
    amounts = [] if size is None else [f"{megabytes(size)} are needed"]
    free = _free(path)
    if free is not None:
        amounts.append(f"{megabytes(free)} are free")
    told = f" ({', '.join(amounts)})" if amounts else ""
    quota = isinstance(error, OSError) and error.errno == getattr(errno, "EDQUOT", None)
    what = "Your disk quota is used up for" if quota else "No space left on the disk for"
    return DiskFullError(f"{what} {path}{told}. Free some space, or write to another disk.")


def require_space(folder: Path, size: int) -> None:
    """Refuse to begin what the disk has no space for.

    Args:
        folder: where to write; need not exist yet.
        size: in bytes.

    Raises:
        DiskFullError: Less is free.
    """
    free = _free(folder)
    if free is not None and free < size:
        raise no_space(folder, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), size=size)


def _free(path: Path) -> int | None:
    """Free space in bytes where a path is or will be; None if the system does not say."""
    while not path.exists() and path != path.parent:
        path = path.parent
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return None


def megabytes(size: int) -> str:
    """A size in bytes as text, in MB (10^6 bytes), or GB from 10 GB on."""
    if size >= 10**10:
        return f"{size / 10**9:,.0f} GB"
    return f"{size / 10**6:,.1f} MB" if size < 10**7 else f"{size / 10**6:,.0f} MB"


def _unwritable(path: Path, error: OSError, *, size: int | None = None) -> UltraSamError:
    if is_disk_full(error):
        return no_space(path, error, size=size)
    return UltraSamError(f"Cannot write {path}: {one_line(error)}.")
