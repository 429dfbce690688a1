"""Who may ask for what: names of this host, origins, the token and sizes of requests.

On this machine alone, programs are trusted, but not the sites that a browser shows: requests must name this
host and come from this origin. Other machines need the token.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import socket
import threading
import time
from collections import OrderedDict, deque
from dataclasses import KW_ONLY, dataclass, field

from ultrasam.serve.http.problems import RefusedError

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_ATTEMPTS, _WINDOW_S = 10, 600.0
_ADDRESSES = 10_000  # of clients whose wrong tokens are counted


def is_loopback(host: str) -> bool:
    """Whether a server bound to a host is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(slots=True)
class HostAccess:
    """The rules of one server.

    Attributes:
        host, port: it is bound to.
        scheme: ``http`` or ``https``.
        token: that lets in; None on this machine alone.
        names: further hosts under which it may be reached.
        origins: of other sites whose pages may use it.
        upload_bytes, json_bytes: the largest bodies.
    """

    host: str
    port: int
    _: KW_ONLY
    scheme: str = "http"
    token: str | None = None
    names: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    upload_bytes: int = 64_000_000
    json_bytes: int = 1_000_000
    _failures: OrderedDict[str, deque[float]] = field(default_factory=OrderedDict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def address(self) -> str:
        """Where browsers and programs find it."""
        host = socket.gethostname() if self.host in ("0.0.0.0", "::") else self.host
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{self.port}/"

    def check_host(self, host: str | None) -> None:
        """Refuse a request that was sent to another name, as by DNS rebinding.

        Raises:
            RefusedError: The Host header is missing or another.
        """
        name, port = _split(host or "")
        if port in (None, self.port) and self._is_own(name):
            return
        raise RefusedError(
            f"This server is not called '{(host or '')[:80]}'; open {self.address}, or start it with "
            "--allow-host NAME.", 421,
        )  # fmt: skip

    def check_origin(self, origin: str | None, host: str | None, site: str | None) -> None:
        """Refuse a request that another site has made.

        Args:
            origin, host: headers.
            site: the header Sec-Fetch-Site.

        Raises:
            RefusedError: It is from another site.
        """
        if origin is not None and origin != f"{self.scheme}://{host}":
            raise RefusedError("Another site has made this request; open the page itself.", 403)
        if site is not None and site not in ("same-origin", "none"):
            raise RefusedError("Another site has made this request; open the page itself.", 403)

    def check_token(self, token: str | None, address: str, *, wrong: str) -> None:
        """Refuse who does not know the token; nothing happens if none is needed.

        Args:
            token: as it was sent.
            address: of the client, whose attempts are counted.
            wrong: what to tell if it is missing or wrong.

        Raises:
            RefusedError: The token is missing or wrong, or there were too many attempts.
        """
        if self.token is None:
            return
        with self._lock:
            self._check_attempts(address)
            right = hmac.compare_digest(
                hashlib.sha256((token or "").encode("utf-8", "replace")).digest(),
                hashlib.sha256(self.token.encode()).digest(),
            )
            if not right:
                self._failures.setdefault(address, deque(maxlen=_ATTEMPTS)).append(time.monotonic())
                while len(self._failures) > _ADDRESSES:
                    self._failures.popitem(last=False)
                raise RefusedError(wrong, 401)
            self._failures.pop(address, None)

    def _check_attempts(self, address: str) -> None:
        failures = self._failures.get(address)
        if failures is None or len(failures) < _ATTEMPTS:
            return
        rest = failures[0] + _WINDOW_S - time.monotonic()
        if rest > 0:
            raise RefusedError(
                f"There were {_ATTEMPTS} wrong tokens from this address; try again in {rest:.0f} seconds.",
                429, retry_after=max(1, round(rest)),
            )  # fmt: skip

    def _is_own(self, name: str) -> bool:
        if name in (*_LOOPBACK, *self.names) and (is_loopback(self.host) or name in self.names):
            return True
        if name.strip("[]") == self.host:
            return True
        if self.host not in ("0.0.0.0", "::"):
            return False
        return name in (
            *_LOOPBACK,
            socket.gethostname().lower(),
            socket.getfqdn().lower(),
        ) or _is_address(name)


def new_token() -> str:
    """A token of 256 random bits."""
    return secrets.token_urlsafe(32)


def _split(host: str) -> tuple[str, int | None]:
    """The name and the port of a Host header."""
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        return host.lower(), None
    return name.lower(), int(port) if port.isascii() and port.isdigit() and len(port) < 6 else -1


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
