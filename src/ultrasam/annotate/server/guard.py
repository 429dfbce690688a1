"""Guard: what every request passes before a route sees it, and the headers of every answer."""

from __future__ import annotations

import asyncio
from http.cookies import CookieError, SimpleCookie
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ultrasam.annotate.problems import RefusedError
from ultrasam.annotate.server.security import CONTENT_POLICY, MUTATION_HEADER, Access

UPLOAD_PATHS = ("/v1/import/upload", "/v1/uploads")
# Other tools' protocols: their programs send no header and no cookie of ours, and bodies of other types.
TOOLS = ("/label-studio/", "/monai-label/")
_BODY_S = 60.0
_HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
_OPEN = (  # without a session
    "/healthz", "/v1/session", "/monai-label/auth/", "/monai-label/auth/token",
)  # fmt: skip


class Guard:
    """ASGI middleware that enforces an `Access`.

    The body of a request is read before its route begins, up to its limit of size and time. The route finds
    who asks in ``request.state.reader``.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        shared = self._shared(scope)

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
        try:
            self._check(scope)
            body = await self._body(scope, receive)
        except RefusedError as error:
            more = {"retry-after": "60"} if error.status == 429 else {}
            if error.status == 401 and _is_tool(scope):
                more["www-authenticate"] = 'Basic realm="UltraSam", charset="UTF-8"'
            refusal = JSONResponse({"detail": str(error)}, error.status, headers=more)
            await refusal(scope, receive, answer)
            return
        sent = False

        async def replay() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, answer)

    def _check(self, scope: Scope) -> None:
        headers, access = Headers(scope=scope), self._access
        access.check_host(headers.get("host"))
        path, method, is_tool = scope["path"], scope["method"], _is_tool(scope)
        is_page = not path.startswith("/v1/") and not is_tool
        navigates = is_page and headers.get("sec-fetch-mode") == "navigate"
        if not self._shared(scope):
            access.check_origin(
                headers.get("origin"), headers.get("host"),
                None if navigates else headers.get("sec-fetch-site"),
            )  # fmt: skip
        if method not in ("GET", "HEAD", "OPTIONS") and not is_tool:
            if headers.get(MUTATION_HEADER) != "1":
                raise RefusedError("A change needs the header 'X-UltraSam: 1'.", 403)
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if path not in UPLOAD_PATHS and kind not in ("", "application/json"):
                raise RefusedError(f"The body is {kind[:60]}; send application/json.", 415)
        state: dict[str, Any] = scope.setdefault("state", {})
        if is_page or path in _OPEN:
            return
        if is_tool:
            client = scope.get("client")
            state["reader"] = access.reader_of_tool(
                headers.get("authorization"), client[0] if client else ""
            )
            return
        state["reader"] = access.reader_of(_cookie(headers.get("cookie"), access.cookie))

    def _shared(self, scope: Scope) -> dict[str, str]:
        """The headers that let a page of another site read the answer: a viewer that was allowed to."""
        origin = Headers(scope=scope).get("origin")
        if not _is_tool(scope) or origin not in self._access.origins:
            return {}
        return {
            "access-control-allow-origin": str(origin), "vary": "Origin",
            "access-control-allow-methods": "GET, POST, PUT, DELETE",
            "access-control-allow-headers": "Authorization, Content-Type",
            "cross-origin-resource-policy": "cross-origin",
        }  # fmt: skip

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        access = self._access
        is_upload = scope["path"] in UPLOAD_PATHS or _is_tool(scope)
        limit = access.upload_bytes if is_upload else access.json_bytes
        length = Headers(scope=scope).get("content-length", "0")
        if length.isascii() and length.isdigit() and int(length) > limit:
            raise _too_large(limit)
        parts, size = list[bytes](), 0
        try:
            async with asyncio.timeout(_BODY_S * (10 if is_upload else 1)):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise RefusedError("The connection ended within the request.", 400)
                    part = message.get("body", b"")
                    size += len(part)
                    if size > limit:
                        raise _too_large(limit)
                    parts.append(part)
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError as error:
            raise RefusedError(
                "The request took too long to arrive; send it again.", 408
            ) from error


def _is_tool(scope: Scope) -> bool:
    return bool(scope["path"].startswith(TOOLS))


def _too_large(limit: int) -> RefusedError:
    return RefusedError(f"The request is larger than {limit / 1e6:g} MB; send less at once.", 413)


def _cookie(header: str | None, name: str) -> str | None:
    if header is None:
        return None
    try:
        found = SimpleCookie(header).get(name)
    except CookieError:
        return None
    return None if found is None else found.value
