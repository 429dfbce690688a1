"""Download public files: with a progress bar, through proxies, resumable and verified."""

from __future__ import annotations

import hashlib
import os
import ssl
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, build_opener

from ultrasam.errors import one_line
from ultrasam.extras import needs

with needs("Downloading", extra="hub"):
    from huggingface_hub.constants import ENDPOINT
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]


_HEADERS = {"User-Agent": "ultrasam"}
_SECONDS = 10
# 407 and the gateway's errors: what a proxy answers if it cannot or will not pass a request on.
_FROM_PROXIES = (407, 502, 503, 504)


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

    Does nothing if ``path`` exists. Of several processes, one downloads and the others wait for it.

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
    lock = path.with_name(f".{path.name}.lock")
    with WeakFileLock(lock):
        try:
            if not path.exists():
                _download(url, path, size, checksum, starts_with)
        finally:
            with suppress(OSError):
                lock.unlink()


def _download(
    url: str, path: Path, size: int | None, checksum: str | None, starts_with: Sequence[bytes]
) -> None:
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
        if start.startswith(b"PK\x03\x04") and not zipfile.is_zipfile(part):
            raise ChecksumError("its end is missing")


def from_pretrained(kind: Any, repository: str, **options: Any) -> Any:
    """What a class of transformers loads from a folder, the cache, or else the Hugging Face hub.

    Raises:
        OSError: The hub cannot be reached, or has no such files.
        ValueError: The files are not a model of this class.
    """
    try:
        return kind.from_pretrained(repository, local_files_only=True, **options)
    except (OSError, ValueError):
        if Path(repository).is_dir():
            raise
    check_reachable(ENDPOINT)
    return kind.from_pretrained(repository, **options)


def check_reachable(url: str) -> None:
    """Fail at once if a server does not answer: the clients would retry for up to a minute.

    One request is made as clients make it, through the proxies of the environment.

    Raises:
        ConnectionError: Nothing answers, or a proxy does instead of the server.
    """
    if os.environ.get("HF_HUB_OFFLINE"):
        return
    host = urlsplit(url).hostname
    request = Request(url, method="HEAD", headers=_HEADERS)
    try:
        # A new opener reads the proxies of this moment.
        with build_opener().open(request, timeout=_SECONDS):
            return
    except HTTPError as error:
        if error.code in _FROM_PROXIES:
            raise ConnectionError(f"{host} cannot be reached: {error}") from error
    except URLError as error:
        # Certificates are left to the client, which may have others.
        if not isinstance(error.reason, ssl.SSLError):
            raise ConnectionError(f"{host} cannot be reached: {_reason(error.reason)}") from error
    except (OSError, HTTPException) as error:
        raise ConnectionError(f"{host} cannot be reached: {one_line(error)}") from error


def _reason(reason: str | BaseException) -> str:
    return "it does not answer" if isinstance(reason, TimeoutError) else one_line(reason)
