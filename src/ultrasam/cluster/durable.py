"""Results that outlast a power cut and are committed once, whoever else writes them."""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import suppress
from pathlib import Path

from ultrasam.errors import UltraSamError, one_line
from ultrasam.files import is_disk_full, no_space


def sync_file(path: Path) -> None:
    """Wait until a file's content is on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk; where folders cannot be synced, do nothing."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def create_once(path: Path, content: bytes) -> bool:
    """Create a file with its whole content, unless there is one; whether it was created.

    Raises:
        UltraSamError: The folder cannot be written.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(part, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without links: no worse than any other tool's writes
            if path.exists():
                return False
            part.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        if is_disk_full(error):
            raise no_space(path, error) from error
        raise UltraSamError(f"Cannot write {path}: {one_line(error)}.") from error
    finally:
        part.unlink(missing_ok=True)
    return True


def commit_folder(part: Path, final: Path) -> bool:
    """Give a complete folder its name; whether it got it, or another process had been first.

    All its files are on the disk before it has the name: a folder of this name is complete.
    """
    for path in part.rglob("*"):
        if path.is_file():
            sync_file(path)
    for folder in [part, *(path for path in part.rglob("*") if path.is_dir())]:
        sync_folder(folder)
    try:
        part.rename(final)
    except OSError:
        if not final.is_dir():
            raise
        return False
    sync_folder(final.parent)
    return True


def hash_file(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
