"""Fetch the images of tasks: files of the project's folder, and what the configured Label Studio serves.

A task may name any address. Only those on the Label Studio that the server was started with are fetched, and
redirects are followed there only, so that neither its key nor requests reach other machines.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urljoin, urlsplit

from ultrasam.errors import ConfigError, DataError, UltraSamError, one_line
from ultrasam.extras import needs

_LOCAL_FILES = "/data/local-files/"
_REDIRECTS = 3
_SECONDS = 60.0
_TOKEN_S = 240.0  # Label Studio's access tokens are good for 5 minutes


class Media:
    """Fetches what tasks point to.

    Args:
        folder: the project's.
        address: of Label Studio, such as ``http://localhost:8080``; None fetches nothing.
        key: an access token of its user; a personal one (JWT) or a legacy one.
        most_bytes: of a file.

    Raises:
        ConfigError: The address is no http or https address.
    """

    def __init__(
        self, folder: Path, address: str | None, key: str | None, *, most_bytes: int
    ) -> None:
        parts = urlsplit(address or "")
        if address is not None and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ConfigError(
                f"--label-studio {address}: give the address of Label Studio, such as http://localhost:8080."
            )
        self._folder, self._key, self._most = folder, key, most_bytes
        self._base = None if address is None else address.rstrip("/") + "/"
        self._access: tuple[str, float] | None = None
        self._lock = threading.Lock()

    def local_path(self, reference: str) -> Path | None:
        """The file of the folder that a task's local file is, or None."""
        parts = urlsplit(reference)
        if not parts.path.startswith(_LOCAL_FILES) or not self._is_ours(reference):
            return None
        named = PurePosixPath(next(iter(parse_qs(parts.query).get("d", [])), ""))
        if named.is_absolute() or not named.parts or "\0" in str(named):
            return None
        try:
            path = (self._folder / named).resolve()
            return path if path.is_file() and path.is_relative_to(self._folder) else None
        except OSError:
            return None

    def fetch(self, reference: str) -> tuple[bytes, str]:
        """The content and the name of a file on Label Studio.

        Args:
            reference: an address, or a path there.

        Raises:
            DataError: It is elsewhere, too large or not there.
            UltraSamError: Label Studio does not answer, or refuses.
            MissingDependencyError: The extra 'client' is not installed.
        """
        with needs("Fetching images from Label Studio", extra="client"):
            import httpx
        if self._base is None:
            raise DataError(
                f"The task's image {_shown(reference)} is not in the project's folder; start the server with "
                "--label-studio ADDRESS to fetch images from Label Studio."
            )
        if not self._is_ours(reference):
            raise DataError(
                f"The task's image {_shown(reference)} is not on {self._base}; only images that Label Studio "
                "itself serves are fetched. Upload them there, or let it proxy your storage."
            )
        address = urljoin(self._base, reference.lstrip("/") if _is_path(reference) else reference)
        try:
            with httpx.Client(timeout=httpx.Timeout(10, connect=5), trust_env=False) as client:
                headers = self._authorization(client)
                for _ in range(_REDIRECTS + 1):
                    with client.stream("GET", address, headers=headers) as response:
                        if response.is_redirect:
                            address = urljoin(address, response.headers.get("location", ""))
                            if not self._is_ours(address):
                                raise DataError(
                                    f"Label Studio sends the image {_shown(reference)} on elsewhere; "
                                    "turn off pre-signed addresses for this storage."
                                )
                            continue
                        if response.status_code != 200:
                            raise UltraSamError(self._refusal(reference, response.status_code))
                        name = PurePosixPath(unquote(urlsplit(address).path)).name
                        query = parse_qs(urlsplit(reference).query)
                        return self._read(response.iter_bytes()), next(
                            iter(query.get("d", query.get("fileuri", []))), name
                        )
        except httpx.HTTPError as error:
            raise UltraSamError(
                f"Label Studio at {self._base} does not answer: {one_line(error)}; check --label-studio."
            ) from error
        raise UltraSamError(f"Label Studio redirects the image {_shown(reference)} without an end.")

    def _read(self, chunks: object) -> bytes:
        parts, size, start = list[bytes](), 0, time.monotonic()
        for chunk in chunks:  # type: ignore[attr-defined]
            size += len(chunk)
            if size > self._most:
                raise DataError(f"The task's image is larger than {self._most / 1e6:g} MB.")
            if time.monotonic() - start > _SECONDS:
                raise UltraSamError("Label Studio sends the task's image too slowly; try again.")
            parts.append(chunk)
        return b"".join(parts)

    def _is_ours(self, reference: str) -> bool:
        """Whether it is on the configured Label Studio: a path, or an address of the same origin."""
        if _is_path(reference):
            return True
        if self._base is None:
            return False
        try:
            asked, own = urlsplit(reference), urlsplit(self._base)
            return (asked.scheme, asked.hostname, asked.port or _port(asked.scheme)) == (
                own.scheme, own.hostname, own.port or _port(own.scheme),
            ) and asked.username is None  # fmt: skip
        except ValueError:
            return False

    def _authorization(self, client: object) -> dict[str, str]:
        if not self._key:
            return {}
        if not _is_refresh_token(self._key):
            return {"Authorization": f"Token {self._key}"}
        with self._lock:
            if self._access is None or time.monotonic() > self._access[1]:
                response = client.post(  # type: ignore[attr-defined]
                    urljoin(str(self._base), "api/token/refresh"), json={"refresh": self._key}
                )
                try:
                    access = str(response.json()["access"])
                except (ValueError, LookupError, TypeError) as error:
                    raise UltraSamError(self._refusal("", response.status_code)) from error
                self._access = access, time.monotonic() + _TOKEN_S
            return {"Authorization": f"Bearer {self._access[0]}"}

    def _refusal(self, reference: str, status: int) -> str:
        what = f"the image {_shown(reference)}" if reference else "an access token"
        hint = "set LABEL_STUDIO_API_KEY to a valid access token of your account there"
        if status == 404:
            hint = "check that it exists there"
        return f"Label Studio answers {status} for {what}; {hint}."


def _is_path(reference: str) -> bool:
    return reference.startswith("/") and not reference.startswith(("//", "/\\"))


def _port(scheme: str) -> int:
    return 443 if scheme == "https" else 80


def _shown(reference: str) -> str:
    """Without the query, which may hold a signature."""
    return f"'{reference.partition('?')[0][:120]}'"


def _is_refresh_token(key: str) -> bool:
    """Whether it is one of Label Studio's personal access tokens, which are JSON Web Tokens."""
    try:
        payload = key.split(".")[1]
        return "token_type" in json.loads(
            base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        )
    except (IndexError, ValueError, TypeError):
        return False
