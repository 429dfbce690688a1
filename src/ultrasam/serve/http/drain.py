"""Drain: a server that is told to stop answers what it has accepted, and refuses the rest."""

from __future__ import annotations

import logging
import signal
import time
from typing import Any

from ultrasam.extras import needs

with needs("The server", extra="serve"):
    import uvicorn
    from starlette.responses import JSONResponse
    from starlette.types import ASGIApp, Receive, Scope, Send

from ultrasam.serve.http.problems import stopping

logger = logging.getLogger(__name__)
_NOTICE_S = 1.0  # for whoever watches whether the server is ready


class Drain:
    """Whether a server stops, and how many requests it still answers.

    Attributes:
        is_draining: whether it stops.
        answering: requests whose answers are not sent yet.
    """

    def __init__(self) -> None:
        self.is_draining, self.answering = False, 0
        self._since = 0.0

    def begin(self) -> None:
        """Accept no more."""
        if not self.is_draining:
            self.is_draining, self._since = True, time.monotonic()

    def is_over(self, grace_s: float) -> bool:
        """Whether all is answered, or the time is up."""
        if not self.is_draining:
            return False
        spent = time.monotonic() - self._since
        return spent >= grace_s or (not self.answering and spent >= min(_NOTICE_S, grace_s))


class Draining:
    """ASGI middleware that counts requests whose bodies are there, and refuses them once the server stops.

    Args:
        app: answers them.
        drain: the server's.
        always: paths that are answered to the end, and not waited for.
    """

    def __init__(self, app: ASGIApp, drain: Drain, *, always: tuple[str, ...] = ()) -> None:
        self._app, self._drain, self._always = app, drain, always

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"] in self._always:
            await self._app(scope, receive, send)
            return
        if self._drain.is_draining:
            error = stopping()
            refusal = JSONResponse({"detail": str(error)}, error.status, headers=error.headers)
            await refusal(scope, receive, send)
            return
        self._drain.answering += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._drain.answering -= 1


class DrainingServer(uvicorn.Server):
    """A uvicorn server that drains at SIGTERM or SIGINT, and stops at once at a second one.

    Args:
        config: uvicorn's.
        drain: is told; the server goes on listening until it is over.
        grace_s: after this many seconds, it stops whatever is left.
    """

    def __init__(self, config: uvicorn.Config, drain: Drain, *, grace_s: float) -> None:
        super().__init__(config)
        self._drain, self._grace_s = drain, grace_s

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Take a signal; uvicorn would close its socket at once, and raise the signal again at the end."""
        if self._drain.is_draining and sig == signal.SIGINT:
            self.force_exit = True
            self.should_exit = True
        self._drain.begin()

    async def on_tick(self, counter: int) -> bool:
        """Whether to stop, asked ten times a second."""
        if self._drain.is_over(self._grace_s):
            if self._drain.answering:
                logger.warning(
                    "%d requests were not answered within %g seconds.", self._drain.answering,
                    self._grace_s,
                )  # fmt: skip
                self.force_exit = True
            return True
        return bool(await super().on_tick(counter))
