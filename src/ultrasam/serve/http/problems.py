"""What a server refuses, and with which status."""

from __future__ import annotations

from ultrasam.errors import DataError


class NotFoundError(DataError):
    """An image, an object or a job does not exist, or not any more."""


class GoneError(NotFoundError):
    """What was there once is forgotten; it can be sent again."""


class RefusedError(DataError):
    """Who asks may not, or not now: no session, a wrong token, another site, too large, too much at once.

    Attributes:
        status: of HTTP.
        retry_after: whole seconds after which to ask again, or None.
    """

    def __init__(self, message: str, status: int, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.retry_after = status, retry_after

    @property
    def headers(self) -> dict[str, str]:
        """Of the answer."""
        return {} if self.retry_after is None else {"retry-after": str(self.retry_after)}


def stopping() -> RefusedError:
    """The refusal of a server that stops; another one may answer."""
    return RefusedError("The server stops; ask again in 5 s.", 503, retry_after=5)
