"""Files from public addresses: with a progress bar, resumed where they broke off, checked."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub.file_download import http_get


class ChecksumError(Exception):
    """What came is not what was published."""


def transfer(url: str, path: Path, *, size: int | None = None, checksum: str | None = None) -> None:
    """Download ``url`` to ``path``, by way of ``<path>.part``, from which a broken download goes on.

    Args:
        size: bytes, where known.
        checksum: ``sha256:…`` or ``md5:…``, where known.

    Raises:
        ChecksumError: the bytes differ from those published; they are removed.
        OSError: there is no network, or another fault of the connection (as the HTTP library has it).
    """
    check_reachable(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("ab") as file:
        done = part.stat().st_size
        if not size or done < size:
            http_get(url, file, resume_size=done, expected_size=size, displayed_filename=path.name)
    if checksum:
        kind, _, wanted = checksum.partition(":")
        with part.open("rb") as file:
            found = hashlib.file_digest(file, kind).hexdigest()
        if found != wanted:
            part.unlink()
            raise ChecksumError(f"{kind.upper()} differs")
    part.replace(path)


def check_reachable(url: str) -> None:
    """Fail at once where there is no network: the client retries for half a minute."""
    parts = urlsplit(url)
    socket.getaddrinfo(parts.hostname, parts.port or (80 if parts.scheme == "http" else 443))
