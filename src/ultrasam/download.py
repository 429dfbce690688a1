"""Download public files: with a progress bar, through proxies, resumable and verified."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from ultrasam.extras import needs

with needs("Downloading", extra="hub"):
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.file_download import http_get


class ChecksumError(Exception):
    """The downloaded file differs from the published one."""


def download(
    url: str,
    path: Path,
    *,
    size: int | None = None,
    checksum: str | None = None,
    starts_with: Sequence[bytes] = (),
) -> None:
    """Download ``url`` to ``path`` through ``<path>.part``; an interrupted download resumes from there.

    Args:
        size: expected size in bytes, if known.
        checksum: ``sha256:…`` or ``md5:…``, if known.
        starts_with: valid first bytes of the file; they expose a proxy's login page if neither size nor
            checksum is known.

    Raises:
        ChecksumError: The file differs from the published one; it is deleted.
        OSError: The network is unreachable, or the connection fails (other errors are the HTTP library's).
    """
    check_reachable(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("ab") as file:
        done = part.stat().st_size
        if not size or done < size:
            try:
                http_get(url, file, resume_size=done, displayed_filename=path.name)
            except HfHubHTTPError as error:
                if not _was_complete(error, done):
                    raise
    try:
        _check(part, size, checksum, starts_with)
    except ChecksumError:
        part.unlink()
        raise
    part.replace(path)


def _was_complete(error: HfHubHTTPError, done: int) -> bool:
    """Whether the server refused to resume because the file is complete (RFC 9110, status 416)."""
    response = error.response
    if response is None or response.status_code != 416 or not done:
        return False
    return str(response.headers.get("Content-Range", "")).strip() == f"bytes */{done}"


def _check(
    part: Path, size: int | None, checksum: str | None, starts_with: Sequence[bytes]
) -> None:
    actual_size = part.stat().st_size
    if size is not None and actual_size != size:
        raise ChecksumError(f"it has {actual_size:,} bytes, not {size:,}")
    if checksum:
        kind, _, expected = checksum.partition(":")
        with part.open("rb") as file:
            actual = hashlib.file_digest(file, kind).hexdigest()
        if actual != expected:
            raise ChecksumError(f"its {kind.upper()} differs")
    if starts_with:
        with part.open("rb") as file:
            start = file.read(16)
        if not start.startswith(tuple(starts_with)):
            raise ChecksumError("it is a different kind of file, such as a proxy's login page")


def check_reachable(url: str) -> None:
    """Fail immediately if the host cannot be resolved; the HTTP client would retry for half a minute.

    Behind a proxy this does nothing, because the proxy resolves names.

    Raises:
        OSError: The host cannot be resolved.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxies = getproxies()
    proxied = any(proxies.get(key) for key in (parts.scheme, "all")) and not proxy_bypass(host)
    if not proxied and not os.environ.get("HF_HUB_OFFLINE"):
        socket.getaddrinfo(host, parts.port or (80 if parts.scheme == "http" else 443))
