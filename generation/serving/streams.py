"""Answers that end when their client goes: as one JSON object, or as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable
from typing import Any, TypeVar

from starlette.types import Message, Receive, Scope, Send

R = TypeVar("R")
DONE = b"data: [DONE]\n\n"
BEAT, BEAT_SECONDS = b": waiting\n\n", 15.0
"""A comment of the format (WHATWG HTML, 9.2.6): proxies close connections that are silent for long."""


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


async def unless_gone(receive: Receive, work: Awaitable[R]) -> R:
    """What `work` gives. When the client disconnects first, `work` is cancelled and `ClientGone` raised."""
    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone
        return await working
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            return


def event(data: dict[str, Any]) -> bytes:
    """One server-sent event. JSON has no line end inside, so that it is one line."""
    return b"data: " + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


class EventStream:
    """A response that sends `events` as they come and closes them when the client goes or the server ends."""

    def __init__(self, events: AsyncGenerator[bytes]) -> None:
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        try:
            await unless_gone(receive, self._send_all(send))
        except (ClientGone, OSError):
            return
        finally:
            await self._events.aclose()

    async def _send_all(self, send: Send) -> None:
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),  # nginx would collect the events
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for data in self._events:
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
