"""TimedH11: connections whose clients do not send a request's head, or take its answer, in time are closed.

uvicorn limits how long a connection is idle between requests, but not how long a head takes to arrive or an
answer to be read, so that slow clients could hold any number of connections.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ultrasam.extras import needs

with needs("The server", extra="serve"):
    import h11
    from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 10.0
# Longer than load balancers keep idle connections: they would send into a closed one.
KEEP_ALIVE_S = 75
WRITE_S = 60.0  # in which none of an answer is read
_REST_S = 60.0  # of a body that nobody reads, as its request was refused before
_MOST = 10_000
_SPARE = 64  # file descriptors for everything else


class TimedH11(H11Protocol):
    """HTTP/1.1 with limits on the time of heads, on that of answers, and on the number of connections."""

    head_s = HEAD_S
    write_s = WRITE_S
    _stalled: asyncio.TimerHandle | None = None
    _timer: asyncio.TimerHandle | None = None
    _timed_s = 0.0

    def connection_made(self, transport: Any) -> None:
        """Take a connection, unless there are so many that files could not be opened any more."""
        super().connection_made(transport)
        if len(self.connections) > _most_connections():
            transport.abort()
            return
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self._unwatch()
        self._expect_nothing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client reads more slowly than the app writes."""
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        """The client has read."""
        self._expect_nothing()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, although a part of the last answer may never be read."""
        super().timeout_keep_alive_handler()
        if self.transport.get_write_buffer_size():
            self._expect_reading()

    def _expect_reading(self) -> None:
        """Close the connection unless some of what waits for the client is read in time, again and again."""
        self._expect_nothing()
        waiting = self.transport.get_write_buffer_size()
        self._stalled = self.loop.call_later(self.write_s, self._abort_unless_read, waiting)

    def _expect_nothing(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _abort_unless_read(self, waited: int) -> None:
        if self.transport.get_write_buffer_size() < waited:
            self._expect_reading()
        else:
            self.transport.abort()

    def _watch(self) -> None:
        if self._is_answering():
            self._unwatch()
            return
        seconds = _REST_S if self.conn.their_state is h11.SEND_BODY else self.head_s
        if self._timer is None or seconds != self._timed_s:
            self._unwatch()
            self._timed_s = seconds
            self._timer = self.loop.call_later(seconds, self._close_if_waiting)

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close_if_waiting(self) -> None:
        self._timer = None
        if not self._is_answering():
            self.transport.close()


def _most_connections() -> int:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return _MOST
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(_MOST, max(16, soft - _SPARE))
