"""Read a request's body: JSON of bounded size and depth, all of it within a time."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NoReturn

from starlette.requests import Request

from generation.serving.errors import ApiError

READING_SECONDS = 30.0


async def read_json(request: Request, limit: int) -> dict[str, Any]:
    """The object in the body of at most `limit` bytes. `ApiError` for all that is not one.

    Only `application/json` is read: a web page elsewhere cannot send that to this server without the browser asking
    first, and the server allows no such request.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, f"Content-Type is {kind or 'missing'!r}; send JSON as application/json")
    try:
        async with asyncio.timeout(READING_SECONDS):
            raw = await _read(request, limit)
    except TimeoutError:
        raise ApiError(
            408, f"the body did not arrive within {READING_SECONDS:g} s", headers={"Connection": "close"}
        ) from None
    try:
        value = json.loads(raw, parse_constant=_no_constant)
    except RecursionError:
        raise ApiError(400, "the body is nested too deeply") from None
    except ValueError as error:  # also bytes that are no UTF-8, and numbers of thousands of digits
        raise ApiError(400, f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ApiError(400, f"the body is a JSON {type(value).__name__}; send an object")
    return value


async def _read(request: Request, limit: int) -> bytes:
    length = request.headers.get("content-length", "")
    raw = bytearray()
    if not length.isdecimal() or (len(length) < 20 and int(length) <= limit):
        async for piece in request.stream():
            raw += piece
            if len(raw) > limit:
                break
        else:
            return bytes(raw)
    # What is still to come is not read: the connection ends with the answer.
    raise ApiError(
        413, f"the body is larger than {limit} bytes; send less text", code="body_too_large",
        headers={"Connection": "close"},
    )  # fmt: skip


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
