"""Files from public addresses: with a progress bar, through proxies, resumed where they broke off,
checked."""

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
    """The downloaded file is not the one that was published."""


def download(
    url: str,
    path: Path,
    *,
    size: int | None = None,
    checksum: str | None = None,
    starts_with: Sequence[bytes] = (),
) -> None:
    """Download ``url`` to ``path``, by way of ``<path>.part``, from which a broken download resumes.

    Args:
        size: bytes, where known.
        checksum: ``sha256:…`` or ``md5:…``, where known.
        starts_with: what such a file may begin with, where neither is known: a proxy's login page does not.

    Raises:
        ChecksumError: the file differs from what was published; it is removed.
        OSError: there is no network, or another fault of the connection (as the HTTP library has it).
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
    """Whether a server refused to resume because nothing is missing (RFC 9110, 416 Range Not Satisfiable)."""
    response = error.response
    if response is None or response.status_code != 416 or not done:
        return False
    return str(response.headers.get("Content-Range", "")).strip() == f"bytes */{done}"


def _check(
    part: Path, size: int | None, checksum: str | None, starts_with: Sequence[bytes]
) -> None:
    found_size = part.stat().st_size
    if size is not None and found_size != size:
        raise ChecksumError(f"it has {found_size:,} bytes, not {size:,}")
    if checksum:
        kind, _, expected = checksum.partition(":")
        with part.open("rb") as file:
            found = hashlib.file_digest(file, kind).hexdigest()
        if found != expected:
            raise ChecksumError(f"its {kind.upper()} differs")
    if starts_with:
        with part.open("rb") as file:
            start = file.read(16)
        if not start.startswith(tuple(starts_with)):
            raise ChecksumError("it is another kind of file, such as a proxy's login page")


def check_reachable(url: str) -> None:
    """Fail at once where there is no network, since the client retries for half a minute.

    Behind a proxy nothing is checked: names are resolved by the proxy.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxies = getproxies()
    proxied = any(proxies.get(key) for key in (parts.scheme, "all")) and not proxy_bypass(host)
    if not proxied and not os.environ.get("HF_HUB_OFFLINE"):
        socket.getaddrinfo(host, parts.port or (80 if parts.scheme == "http" else 443))
