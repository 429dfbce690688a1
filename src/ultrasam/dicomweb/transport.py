"""Requests to a DICOMweb server: credentials, limits, and every failure as one sentence.

What a server says of an error is not repeated: it may name a patient.
"""

from __future__ import annotations

import json
import logging
import os
import ssl
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from ultrasam.dicomweb.multipart import (
    MalformedMessageError,
    media_type,
    message_of,
    read_parts,
)
from ultrasam.errors import ConfigError, DataError, UltraSamError, UltraSamWarning, one_line
from ultrasam.extras import needs
from ultrasam.files import megabytes

_MAX_JSON = 64 * 10**6  # bytes; the answer to a search of a thousand instances has about 1 MB
_JSON = "application/dicom+json"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
TOKEN, USER, PASSWORD = (f"ULTRASAM_DICOMWEB_{name}" for name in ("TOKEN", "USER", "PASSWORD"))


class Transport:
    """Sends requests below the root of a server.

    Args:
        base: the root, such as ``https://host/dicom-web``.
        timeout: seconds that the server may be silent.
        deadline: seconds that a whole answer may take.
        max_bytes: what an answer may have, decompressed; a longer one is not read on.

    Raises:
        ConfigError: The credentials of the environment contradict each other.
        MissingDependencyError: The extra 'dicomweb' is not installed.
    """

    def __init__(self, base: str, *, timeout: float, deadline: float, max_bytes: int) -> None:
        with needs("DICOMweb", extra="dicomweb"):
            import httpx
            import pydicom  # noqa: F401
            import python_multipart  # noqa: F401
        # It would log every address, whose UIDs lead to a person.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        self.base, self._deadline, self._max_bytes = base, deadline, max_bytes
        headers, user = _credentials(base)
        # No redirect is followed, so credentials go to no other server.
        self._http = httpx.Client(
            timeout=httpx.Timeout(timeout, connect=min(timeout, 10)), headers=headers, auth=user,
            verify=_trusted(),
        )  # fmt: skip
        self._failures = (httpx.HTTPError, httpx.InvalidURL)
        self._timeouts, self._unreachable = httpx.TimeoutException, httpx.ConnectError

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def json(
        self, path: str, what: str, parameters: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """GET data sets in JSON (PS3.18, F.2).

        Args:
            path: below the root.
            what: what the server is to do, as a verb phrase for messages.
            parameters: of the query.

        Raises:
            DataError: It is not there.
            UltraSamError: The server cannot be reached, refuses, or answers with something else.
        """
        with self._answer("GET", path, what, accept=_JSON, parameters=parameters) as answer:
            if answer.status_code == 204:
                return []
            content = b"".join(self._chunks(answer, what, _MAX_JSON))
        try:
            found = json.loads(content) if content else []
        except (ValueError, RecursionError) as error:
            raise self._not_dicomweb(what) from error
        found = [found] if isinstance(found, dict) else found  # some servers unwrap a single one
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise self._not_dicomweb(what)
        return found

    def parts(
        self,
        path: str,
        what: str,
        accept: str,
        open_part: Callable[[int, str], IO[bytes]],
        *,
        limit: int | None = None,
    ) -> tuple[str, list[str]]:
        """GET a message of parts into files.

        Args:
            path: below the root.
            what: as in `json`.
            accept: a media type.
            open_part: as in `ultrasam.dicomweb.multipart.read_parts`.
            limit: bytes that the answer may have; by default ``max_bytes``.

        Returns:
            The Content-Type of the message, and of each part.

        Raises:
            DataError, UltraSamError: As in `json`.
        """
        with self._answer("GET", path, what, accept=accept) as answer:
            content_type = answer.headers.get("Content-Type", "")
            if media_type(content_type) in ("text/html", "text/plain", "application/json"):
                raise self._not_dicomweb(what)
            chunks = self._chunks(answer, what, limit or self._max_bytes)
            try:
                return content_type, read_parts(content_type, chunks, open_part)
            except MalformedMessageError as error:
                raise UltraSamError(
                    f"{self.base} was asked to {what}, but {error}; try again."
                ) from error

    def post(self, path: str, what: str, file: Path) -> tuple[int, Any]:
        """POST a DICOM file (STOW-RS).

        Returns:
            The status (below 300, or 409: the file was refused) and the JSON of the answer, or None if it has
            another format.

        Raises:
            DataError, UltraSamError: As in `json`.
        """
        content_type, length, content = message_of(file)
        headers = {"Content-Type": content_type, "Content-Length": str(length)}
        with self._answer(
            "POST", path, what, accept=_JSON, headers=headers, content=content, also=(409,)
        ) as answer:
            found = b"".join(self._chunks(answer, what, _MAX_JSON))
            status = int(answer.status_code)
        try:
            return status, json.loads(found)
        except (ValueError, RecursionError):
            return status, None

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        what: str,
        *,
        accept: str,
        headers: Mapping[str, str] | None = None,
        parameters: Mapping[str, Any] | None = None,
        content: Iterator[bytes] | None = None,
        also: tuple[int, ...] = (),
    ) -> Iterator[Any]:
        """An answer with a status of success, or one of ``also``, whose body is not read yet."""
        # Pixels hardly shrink, and a small answer must not grow to fill the memory.
        headers = {"Accept": accept, "Accept-Encoding": "identity", **(headers or {})}
        try:
            with self._http.stream(
                method, self.base + path, headers=headers, params=parameters, content=content
            ) as answer:
                if not answer.is_success and answer.status_code not in also:
                    raise self._refusal(answer.status_code, what)
                yield answer
        except self._timeouts as error:
            raise UltraSamError(
                f"{self.base} did not answer in time when asked to {what}; try again later."
            ) from error
        except self._failures as error:
            if not isinstance(error, self._unreachable):
                raise UltraSamError(
                    f"The connection to {self.base} broke when it was asked to {what} "
                    f"({one_line(error)}); try again."
                ) from error
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise UltraSamError(
                    f"The certificate of {self.base} is not trusted; if your hospital has its own authority, "
                    "set SSL_CERT_FILE to its certificate."
                ) from error
            raise UltraSamError(
                f"No DICOMweb server answers at {self.base} ({one_line(error)}); check the address."
            ) from error

    def _chunks(self, answer: Any, what: str, limit: int) -> Iterator[bytes]:
        """The bytes of an answer, until they are too many or take too long."""
        read, end = 0, time.monotonic() + self._deadline
        for (
            chunk
        ) in answer.iter_bytes():  # of any size: to fill a larger one, a slow server takes forever
            read += len(chunk)
            if read > limit:
                more = (
                    "; allow more (--max-gb) if that is right" if limit == self._max_bytes else ""
                )
                raise UltraSamError(
                    f"{self.base} was asked to {what} and sends more than {megabytes(limit)}, the rest of "
                    f"which was not read{more}."
                )
            if time.monotonic() > end:
                raise UltraSamError(
                    f"{self.base} was asked to {what} and still sends after {self._deadline:.0f} s; try "
                    "again when the network is faster."
                )
            yield chunk

    def _refusal(self, status: int, what: str) -> UltraSamError:
        if status in (401, 403):
            return UltraSamError(
                f"{self.base} does not let you {what} ({status}); set {TOKEN}, or {USER} and {PASSWORD}, to "
                "credentials that may."
            )
        if status in (404, 410):
            return DataError(
                f"{self.base} cannot {what} ({status}): it is not there, or the address is not the root of a "
                "DICOMweb server."
            )
        if 300 <= status < 400:
            return UltraSamError(
                f"{self.base} redirects to another address ({status}), which credentials must not go to "
                "unseen; give that address."
            )
        if status in (429, 503):
            return UltraSamError(f"{self.base} is too busy to {what} ({status}); try again later.")
        return UltraSamError(f"{self.base} was asked to {what} and answers {status}.")

    def _not_dicomweb(self, what: str) -> UltraSamError:
        return UltraSamError(
            f"{self.base} was asked to {what} and answers with something other than DICOM; check that it is "
            "the root of a DICOMweb server, and not a page."
        )


def _trusted() -> ssl.SSLContext:
    """The authorities of SSL_CERT_FILE, else those that the system trusts and the public ones."""
    context = ssl.create_default_context()
    if not os.environ.get("SSL_CERT_FILE"):
        import certifi

        context.load_verify_locations(certifi.where())
    return context


def _credentials(base: str) -> tuple[dict[str, str], tuple[str, str] | None]:
    """Headers, and user and password, from the environment.

    Raises:
        ConfigError: They contradict each other, or one is missing.
    """
    token, user, password = (os.environ.get(name, "") for name in (TOKEN, USER, PASSWORD))
    if token and (user or password):
        raise ConfigError(f"Set {TOKEN}, or {USER} and {PASSWORD}, not both.")
    if bool(user) != bool(password):
        raise ConfigError(f"Set both {USER} and {PASSWORD}; one of them is missing.")
    if any(not (text.isascii() and text.isprintable()) for text in (token,)):
        raise ConfigError(f"{TOKEN} holds characters that no token has, such as a line break.")
    parts = urlsplit(base)
    if (token or user) and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        warnings.warn(
            f"The credentials go to {base} unencrypted; use https if the server has it.",
            UltraSamWarning, stacklevel=4,
        )  # fmt: skip
    headers = {"User-Agent": "ultrasam"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return headers, (user, password) if user else None
