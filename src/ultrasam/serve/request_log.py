"""RequestLog: one line of JSON per request, and its metrics; nothing in them says whose image it was."""

from __future__ import annotations

import json
import logging
import secrets
import time
from datetime import UTC, datetime
from typing import Any

from ultrasam.extras import needs

with needs("The server", extra="serve"):
    from starlette.datastructures import MutableHeaders
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ultrasam.serve.engine import Timings
from ultrasam.serve.metrics import Metrics

logger = logging.getLogger("ultrasam.serve.requests")
_GONE = 499  # the client closed the connection before it had its answer


class RequestLog:
    """ASGI middleware around everything else.

    A line has the time, a random id that the client gets as ``X-Request-ID``, the method, the route as it is
    declared, the status, milliseconds, bytes in and out, and what `Timings` says. It never has a path, a
    query, a header or an address.

    Args:
        app: what it surrounds.
        metrics: the server's.
        quiet: routes that are asked all the time, and whose usual answers (200, 503) are not logged.
        known: further routes without parameters, which may be refused before they are found.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        *,
        quiet: tuple[str, ...] = (),
        known: tuple[str, ...] = (),
    ) -> None:
        self._app, self._metrics = app, metrics
        self._quiet, self._known = quiet, (*quiet, *known)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, id = time.perf_counter(), secrets.token_hex(8)
        status, sent = _GONE, 0
        timings = Timings()
        scope.setdefault("state", {})["timings"] = timings

        async def answer(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = id
            sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, answer)
        finally:
            self._log(scope, id, status, time.perf_counter() - start, sent, timings)

    def _log(
        self, scope: Scope, id: str, status: int, spent: float, sent: int, timings: Timings
    ) -> None:
        route = getattr(scope.get("route"), "path", None)
        route = route or (scope["path"] if scope["path"] in self._known else "none")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.requests.labels(route, method, str(status)).inc()
        self._metrics.request_seconds.labels(route).observe(spent)
        if route in self._quiet and status in (200, 503):
            return
        line: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"), "id": id, "method": method,
            "route": route, "status": status, "ms": round(1000 * spent, 1),
            "bytes_in": scope["state"].get("body_bytes", 0), "bytes_out": sent,
        }  # fmt: skip
        if timings.prompts:
            line |= {
                "prompts": timings.prompts, "embedding": timings.source,
                "queued_ms": round(1000 * timings.queued_s, 1),
                "encode_ms": round(1000 * timings.encode_s, 1),
                "decode_ms": round(1000 * timings.decode_s, 1),
            }  # fmt: skip
        logger.info("%s", json.dumps(line))


_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
