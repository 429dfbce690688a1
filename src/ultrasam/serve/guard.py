"""The inference server's guard: the token where there is one, and sizes of what is sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ultrasam.extras import needs

with needs("The server", extra="serve"):
    from starlette.datastructures import Headers
    from starlette.types import ASGIApp, Scope

from ultrasam.serve.http import guard
from ultrasam.serve.http.access import HostAccess
from ultrasam.serve.http.problems import RefusedError

OPEN = ("/health", "/ready")  # without a token
UPLOADS = ("/v1/uploads", "/v1/predict")
_BODY_S = 30.0
_WRONG = "The token is missing or wrong; send 'Authorization: Bearer TOKEN'."


class ServeGuard(guard.Guard):
    """ASGI middleware that enforces a `HostAccess`.

    Without a token, requests must name this machine, so that no site in a browser can reach the server by
    DNS rebinding; with one, any name is good.

    Args:
        access: the rules.
        bodies: as in `guard.Guard`.
        check_room: refuses work if none is accepted now, before its body is read.
    """

    def __init__(
        self, app: ASGIApp, access: HostAccess, *, bodies: int, check_room: Callable[[], None]
    ) -> None:
        super().__init__(app, bodies=bodies)
        self._access, self._check_room = access, check_room

    def check(self, scope: Scope) -> None:
        """Refuse other sites, and who has no token."""
        if scope["path"] in OPEN:
            return
        headers, access = Headers(scope=scope), self._access
        if access.token is None:
            access.check_host(headers.get("host"))
        access.check_origin(
            headers.get("origin"), headers.get("host"), headers.get("sec-fetch-site")
        )
        kind, _, token = (headers.get("authorization") or "")[:1000].partition(" ")
        client = scope.get("client")
        access.check_token(
            token.strip() if kind.lower() == "bearer" else None, client[0] if client else "",
            wrong=_WRONG,
        )  # fmt: skip
        if scope["method"] == "POST":
            self._check_room()

    def limits(self, scope: Scope) -> tuple[int, float]:
        """Images may be larger than the rest."""
        kind = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
        large = scope["path"] in UPLOADS and kind != "application/json"
        return self._access.upload_bytes if large else self._access.json_bytes, _BODY_S

    def more_headers(self, scope: Scope, error: RefusedError) -> Mapping[str, str]:
        """A client that still sends its body is not listened to any longer."""
        more = {"connection": "close"} if error.status in (400, 408, 413) else {}
        return {**more, "www-authenticate": "Bearer"} if error.status == 401 else more
