"""Refusals as OpenAI's API words them: a status and {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

INVALID = "invalid_request_error"


class ApiError(Exception):
    """Ends a request with `status` and a message that says what to do about it."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = INVALID,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        message = message.encode(errors="replace").decode()  # it may quote half a surrogate pair
        self.status, self.message, self.kind, self.param, self.code = status, message, kind, param, code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The error object (platform.openai.com/docs/guides/error-codes)."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """The whole answer."""
        return JSONResponse(self.body(), self.status, self.headers)


def full(limit: int) -> ApiError:
    """No room for another request now."""
    return ApiError(
        429,
        f"{limit} texts are being written or wait already; try again in a moment",
        kind="rate_limit_error",
        code="queue_full",
        headers={"Retry-After": "1"},
    )


def leaving() -> ApiError:
    """The server is about to end."""
    return ApiError(503, "the server is shutting down", kind="server_error", code="shutting_down")


def failed() -> ApiError:
    """A fault of ours, told in the server's log."""
    return ApiError(500, "the model failed on this request; the server's log says how", kind="server_error")
