"""Who may ask: the Host header against DNS rebinding, the key, headers that keep answers from other sites."""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from generation.serving.errors import ApiError
from generation.serving.flags import is_loopback

SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""There is no Access-Control-Allow-Origin: pages of other sites can neither ask nor read (no CORS)."""


class Guard:
    """Wraps the application. What it refuses, the application never sees.

    Without a key only requests that name this machine (localhost, 127.0.0.1, ::1) are let in: a page whose name an
    attacker points at 127.0.0.1 comes with that name. With a key every path below /v1/ wants it, whatever the name.
    """

    def __init__(self, app: ASGIApp, key: str | None) -> None:
        self._app, self._key = app, None if key is None else key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SAFE_HEADERS)
            await send(message)

        refused = self._refused(Headers(scope=scope), scope["path"])
        app = self._app if refused is None else refused.response()
        await app(scope, receive, send_safely)

    def _refused(self, headers: Headers, path: str) -> ApiError | None:
        if self._key is None:
            host = headers.get("host", "")
            if not is_loopback(host_name(host)):
                return ApiError(403, f"Host {host!r} is not this machine's; ask for localhost or 127.0.0.1")
            return None
        if path.startswith("/v1") and not self._has_key(headers):
            return ApiError(
                401, "send this server's key as `Authorization: Bearer KEY`", code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
        return None

    def _has_key(self, headers: Headers) -> bool:
        assert self._key is not None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(given.strip().encode(), self._key)  # in constant time
        return same and scheme.lower() == "bearer"


def host_name(host: str) -> str:
    """A Host header without its port: `[::1]:8000` -> `::1`."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
