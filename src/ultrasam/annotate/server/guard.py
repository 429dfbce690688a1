"""The annotator's guard: sessions, the header that changes need, and the rules of other tools."""

from __future__ import annotations

from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Scope

from ultrasam.annotate.server.security import MUTATION_HEADER, Access
from ultrasam.serve.http import guard
from ultrasam.serve.http.problems import RefusedError

UPLOAD_PATHS = ("/v1/import/upload", "/v1/uploads")
# Other tools' protocols: their programs send no header and no cookie of ours, and bodies of other types.
TOOLS = ("/label-studio/", "/monai-label/")
_BODY_S, _UPLOAD_S = 60.0, 600.0
_OPEN = (  # without a session
    "/healthz", "/v1/session", "/monai-label/auth/", "/monai-label/auth/token",
)  # fmt: skip


class Guard(guard.Guard):
    """ASGI middleware that enforces an `Access`; a route finds who asks in ``request.state.reader``."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        super().__init__(app)
        self._access = access

    def check(self, scope: Scope) -> None:
        """Refuse other hosts and sites, changes without our header, and who has no session."""
        headers, access = Headers(scope=scope), self._access
        access.check_host(headers.get("host"))
        path, method, is_tool = scope["path"], scope["method"], _is_tool(scope)
        is_page = not path.startswith("/v1/") and not is_tool
        navigates = is_page and headers.get("sec-fetch-mode") == "navigate"
        if not self.shared(scope):
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

    def limits(self, scope: Scope) -> tuple[int, float]:
        """Uploads and what other tools send may be larger than JSON, and take longer."""
        if scope["path"] in UPLOAD_PATHS or _is_tool(scope):
            return self._access.upload_bytes, _UPLOAD_S
        return self._access.json_bytes, _BODY_S

    def shared(self, scope: Scope) -> dict[str, str]:
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

    def more_headers(self, scope: Scope, error: RefusedError) -> Mapping[str, str]:
        """What asks another tool for a password."""
        if error.status == 401 and _is_tool(scope):
            return {"www-authenticate": 'Basic realm="UltraSam", charset="UTF-8"'}
        return {}


def _is_tool(scope: Scope) -> bool:
    return bool(scope["path"].startswith(TOOLS))


def _cookie(header: str | None, name: str) -> str | None:
    if header is None:
        return None
    try:
        found = SimpleCookie(header).get(name)
    except CookieError:
        return None
    return None if found is None else found.value
