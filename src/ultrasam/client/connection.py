"""Connection: requests to a server, with its refusals as errors of ours, and patience when it is busy."""

from __future__ import annotations

import random
import time
from typing import Any

from ultrasam.errors import DataError, PromptError, UltraSamError, one_line
from ultrasam.extras import needs

Json = dict[str, Any]
_BUSY = (429, 503)
_LONGEST_S, _JITTER = 30.0, 0.2


class ConflictError(DataError):
    """Someone else has changed an object in the meantime.

    Attributes:
        object: as it is now.
    """

    def __init__(self, message: str, object: Json) -> None:
        super().__init__(message)
        self.object = object


class GoneError(DataError):
    """The server has forgotten an image."""


class Connection:
    """Talks to one server; close it when done.

    Args:
        address: of the server, perhaps with ``#token=…`` as it was printed.
        token: sent as a bearer token, if there is one.
        timeout: seconds to wait for an answer.
        patience: seconds in which a busy server (429, 503) is asked again, by its Retry-After.
        who: answers there, and how it is started; for messages.

    Raises:
        MissingDependencyError: The extra 'client' is not installed.
    """

    def __init__(
        self,
        address: str,
        *,
        token: str | None,
        timeout: float,
        patience: float,
        who: tuple[str, str],
    ) -> None:
        with needs("The client", extra="client"):
            import httpx
        self.address = address.partition("#")[0].rstrip("/")
        headers = {"X-UltraSam": "1"} | ({"Authorization": f"Bearer {token}"} if token else {})
        try:
            self._http = httpx.Client(
                base_url=f"{self.address}/v1/", timeout=timeout, headers=headers, trust_env=False
            )
        except (httpx.InvalidURL, UnicodeError, ValueError) as error:
            raise UltraSamError(
                f"'{self.address[:100]}' or its token cannot be used: {one_line(error)}; check both."
            ) from error
        self._errors = (httpx.HTTPError, httpx.InvalidURL)
        self._patience, self._who = patience, who

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def json(
        self, method: str, path: str, body: Any = None, *, content: bytes | None = None
    ) -> Json:
        """The JSON of an answer, as `request`."""
        answer = self.request(method, path, body, content=content)
        try:
            found: Json = answer.json()
        except ValueError as error:
            raise self._no_server(answer) from error
        return found

    def request(
        self, method: str, path: str, body: Any = None, *, content: bytes | None = None
    ) -> Any:
        """An answer.

        Args:
            path: below ``/v1/``.
            body: JSON; or ``content``.

        Raises:
            PromptError, DataError, UltraSamError: The server refuses, is busy for longer than the patience,
                or does not answer.
        """
        end = time.monotonic() + self._patience
        while True:
            try:
                answer = self._http.request(method, path, json=body, content=content)
            except self._errors as error:
                what, start = self._who
                raise UltraSamError(
                    f"No {what} answers at {self.address} ({one_line(error)}); start it with '{start}', or "
                    "check the address."
                ) from error
            if answer.is_success:
                return answer
            wait = _pause(answer)
            if wait is None or time.monotonic() + wait > end:
                raise self._error(answer)
            time.sleep(wait)

    def _error(self, answer: Any) -> UltraSamError:
        try:
            content = answer.json()
            detail = str(content["detail"])
        except (ValueError, LookupError, TypeError):
            return self._no_server(answer)
        if answer.status_code == 409 and content.get("object"):
            return ConflictError(detail, content["object"])
        if answer.status_code == 410:
            return GoneError(detail)
        if answer.status_code in (404, 409):
            return DataError(detail)
        return PromptError(detail) if answer.status_code == 422 else UltraSamError(detail)

    def _no_server(self, answer: Any) -> UltraSamError:
        return UltraSamError(
            f"{self.address} answers {answer.status_code}, and is no {self._who[0]}'s server."
        )


def token_in(address: str) -> str | None:
    """The token of an address as a server prints it."""
    fragment = address.partition("#")[2]
    return fragment.removeprefix("token=") if fragment.startswith("token=") else None


def _pause(answer: Any) -> float | None:
    """Seconds after which to ask a busy server again; None if it is not busy, or does not say.

    Clients that were refused together should not come back together.
    """
    wait = answer.headers.get("retry-after", "")
    if answer.status_code not in _BUSY or not (wait.isascii() and wait.isdigit()):
        return None
    return min(float(wait), _LONGEST_S) * random.uniform(1, 1 + _JITTER)
