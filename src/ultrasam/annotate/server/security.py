"""Who may ask for what: hosts, origins, tokens, sessions and sizes of requests.

On this machine alone, the browser is trusted, but not other sites that it shows: requests must name this
host, come from this origin, and changes carry a header that other sites cannot send. For other machines, a
token is exchanged for a signed cookie.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
import secrets
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass, field

from ultrasam.annotate.problems import RefusedError
from ultrasam.annotate.project.readers import reader_name
from ultrasam.errors import DataError

MUTATION_HEADER = "x-ultrasam"
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; font-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_ATTEMPTS, _WINDOW_S = 10, 600.0
_LONGEST_COOKIE = 1000


def is_loopback(host: str) -> bool:
    """Whether a server bound to a host is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(slots=True)
class Access:
    """The rules of one server.

    Attributes:
        host, port: it is bound to.
        scheme: ``http`` or ``https``.
        secret: signs cookies; the project's.
        token: that logs in; None on this machine alone.
        one_time: whether the token logs in once only.
        names: further hosts under which it may be reached.
        origins: of other sites whose pages may use the protocols of other tools, such as a DICOM viewer's.
        default_reader: who works if nobody has said so.
        upload_bytes, json_bytes: the largest bodies.
    """

    host: str
    port: int
    secret: str
    default_reader: str
    scheme: str = "http"
    token: str | None = None
    one_time: bool = False
    names: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    upload_bytes: int = 64_000_000
    json_bytes: int = 1_000_000
    _used: bool = False
    _failures: dict[str, deque[float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def cookie(self) -> str:
        """The cookie's name; browsers share cookies between the ports of a host."""
        return f"ultrasam-{self.port}"

    @property
    def address(self) -> str:
        """Of the page."""
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

    def log_in(self, token: str | None, reader: str, address: str) -> str:
        """The cookie of a session.

        Args:
            token: as it was sent.
            reader: who works.
            address: of the client, whose attempts are counted.

        Raises:
            RefusedError: The token is missing, wrong or used up, or there were too many attempts.
        """
        if self.token is None:
            return self.signed(reader)
        with self._lock:
            self._check_attempts(address)
            right = hmac.compare_digest(
                hashlib.sha256((token or "").encode()).digest(),
                hashlib.sha256(self.token.encode()).digest(),
            )
            if not right:
                self._failures.setdefault(address, deque(maxlen=_ATTEMPTS)).append(time.monotonic())
                raise RefusedError(
                    "The token is missing or wrong; open the address that 'ultrasam annotate' printed.",
                    401,
                )
            if self.one_time and self._used:
                raise RefusedError(
                    "The token was used already, and is good for one login only; start the server anew.",
                    401,
                )
            self._used = True
            self._failures.pop(address, None)
        return self.signed(reader)

    def reader_of(self, cookie: str | None) -> str:
        """Who works, by their cookie.

        Raises:
            RefusedError: There is no valid cookie, and a token is needed.
        """
        found = None if cookie is None else self._verified(cookie)
        if found is not None:
            return found
        if self.token is None:
            return self.default_reader
        raise RefusedError(
            "There is no session; open the address that 'ultrasam annotate' printed, with its token.",
            401,
        )

    def reader_of_tool(self, authorization: str | None, address: str) -> str:
        """Who works with another tool, by its Authorization header.

        Basic: the user is the reader, and the password is the token. Bearer: what `log_in` returned.

        Args:
            authorization: the header.
            address: of the client, whose attempts are counted.

        Raises:
            RefusedError: A token is needed, and is missing or wrong; or the header cannot be read.
        """
        kind, _, value = (authorization or "")[:_LONGEST_COOKIE].partition(" ")
        if kind.lower() == "bearer":
            return self.reader_of(value.strip())
        if kind.lower() != "basic":
            return self.reader_of(None)
        try:
            user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
            name = reader_name(user) if user else self.default_reader
        except (ValueError, DataError) as error:
            raise RefusedError(
                "The Authorization header is not a reader's name and the token; check both.", 401
            ) from error
        self.log_in(password, name, address)
        return name

    def signed(self, reader: str) -> str:
        """A cookie that says who works."""
        payload = base64.urlsafe_b64encode(
            json.dumps([reader, secrets.token_hex(4)]).encode()
        ).decode()
        return f"{payload}.{self._signature(payload)}"

    def _verified(self, cookie: str) -> str | None:
        payload, dot, signature = cookie[:_LONGEST_COOKIE].rpartition(".")
        if not dot or not hmac.compare_digest(
            signature.encode("utf-8", "replace"), self._signature(payload).encode()
        ):
            return None
        try:
            reader = json.loads(base64.urlsafe_b64decode(payload))[0]
        except (ValueError, LookupError):
            return None
        return reader if isinstance(reader, str) else None

    def _signature(self, payload: str) -> str:
        key = f"{self.secret} {self.token or ''}".encode()
        return hmac.new(key, payload.encode("utf-8", "replace"), hashlib.sha256).hexdigest()

    def _check_attempts(self, address: str) -> None:
        failures = self._failures.get(address)
        if failures is None or len(failures) < _ATTEMPTS:
            return
        rest = failures[0] + _WINDOW_S - time.monotonic()
        if rest > 0:
            raise RefusedError(
                f"There were {_ATTEMPTS} wrong tokens from this address; try again in {rest:.0f} seconds.",
                429,
            )

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
