"""Guard: what every request passes before a route sees it, and the headers of every answer."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping

from ultrasam.extras import needs

with needs("The server", extra="serve"):
    from starlette.datastructures import Headers, MutableHeaders
    from starlette.responses import JSONResponse, Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ultrasam.serve.http.problems import RefusedError

_CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; font-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
_PARTS_AT_ONCE = 16


class Guard(ABC):
    """ASGI middleware: a subclass says what it checks, and how large and slow a body may be.

    The body of a request is read before its route begins, so that a slow client occupies nothing but its
    connection.

    Args:
        app: what it guards.
        bodies: bytes of all bodies that may be in memory at once, or None for any.
    """

    def __init__(self, app: ASGIApp, *, bodies: int | None = None) -> None:
        self._app, self._bodies, self._held = app, bodies, 0

    @abstractmethod
    def check(self, scope: Scope) -> None:
        """Refuse what may not be asked, by its headers alone.

        Raises:
            RefusedError: It may not.
        """

    @abstractmethod
    def limits(self, scope: Scope) -> tuple[int, float]:
        """The bytes of the largest body, and the seconds in which it has to arrive."""

    def shared(self, scope: Scope) -> dict[str, str]:
        """The headers that let a page of another site read the answer, where it may."""
        return {}

    def more_headers(self, scope: Scope, error: RefusedError) -> Mapping[str, str]:
        """Further headers of a refusal."""
        return {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        shared = self.shared(scope)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
                headers.update(shared)
            await send(message)

        if shared and scope["method"] == "OPTIONS":
            await Response(status_code=204)(scope, receive, answer)
            return
        held = _Held()
        try:
            try:
                self.check(scope)
                parts = await self._body(scope, receive, held)
            except RefusedError as error:
                more = {**error.headers, **self.more_headers(scope, error)}
                refusal = JSONResponse({"detail": str(error)}, error.status, headers=more)
                await refusal(scope, receive, answer)
                return
            scope.setdefault("state", {})["body_bytes"] = held.size
            parts.reverse()
            began = False

            async def replay() -> Message:
                nonlocal began
                if began and not parts:
                    return await receive()
                began = True
                if len(parts) % _PARTS_AT_ONCE == 1:
                    await asyncio.sleep(0)  # parsing a large body keeps nobody else waiting
                part = parts.pop() if parts else b""
                return {"type": "http.request", "body": part, "more_body": bool(parts)}

            await self._app(scope, replay, answer)
        finally:
            self._held -= held.size

    async def _body(self, scope: Scope, receive: Receive, held: _Held) -> list[bytes]:
        limit, seconds = self.limits(scope)
        length = Headers(scope=scope).get("content-length", "0")
        if length.isascii() and length.isdigit() and int(length) > limit:
            raise _too_large(limit)
        parts = list[bytes]()
        try:
            async with asyncio.timeout(seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise RefusedError("The connection ended within the request.", 400)
                    part = message.get("body", b"")
                    held.size += len(part)
                    self._held += len(part)
                    if held.size > limit:
                        raise _too_large(limit)
                    if self._bodies is not None and self._held > self._bodies:
                        raise RefusedError(
                            "The server receives too much at once; send the request again.", 429,
                            retry_after=1,
                        )  # fmt: skip
                    parts.append(part)
                    if not message.get("more_body", False):
                        return parts
        except TimeoutError as error:
            raise RefusedError(
                "The request took too long to arrive; send it again.", 408
            ) from error


class _Held:
    """How much of a body is in memory."""

    size = 0


def _too_large(limit: int) -> RefusedError:
    return RefusedError(f"The request is larger than {limit / 1e6:g} MB; send less at once.", 413)
