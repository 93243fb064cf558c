"""The application: OpenAI's routes, /health and the page, and every fault as an error object."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from foundation.errors import UserError
from foundation.logs import get_logger
from generation.serving.answers import ChatForm, Form, TextForm
from generation.serving.body import read_json
from generation.serving.errors import ApiError, failed
from generation.serving.guard import Guard
from generation.serving.options import longest, options_of
from generation.serving.page import page_routes
from generation.serving.protocol import ChatBody, Options, TextBody, parse
from generation.serving.service import Prompt, Service
from generation.serving.streams import ClientGone, EventStream, unless_gone

LOG = get_logger("serving")
Handler = Callable[[Request], Awaitable[Any]]
NO_STORE = {"Cache-Control": "no-store"}
CLIENT_CLOSED = 499  # nginx's number for a client that did not wait; nobody reads it


def make_app(service: Service, key: str | None, max_body_bytes: int) -> ASGIApp:
    """The whole ASGI application; the engine's thread lives as long as its lifespan."""
    routes = Routes(service, max_body_bytes)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        service.thread.start()
        yield
        service.thread.stop()

    app = Starlette(
        routes=[
            Route("/v1/chat/completions", _told(routes.chat), methods=["POST"]),
            Route("/v1/completions", _told(routes.text), methods=["POST"]),
            Route("/v1/models", _told(routes.models), methods=["GET"]),
            Route("/v1/models/{name:path}", _told(routes.model), methods=["GET"]),
            Route("/health", _told(routes.health), methods=["GET"]),
            *page_routes(),
        ],
        lifespan=lifespan,
        exception_handlers={HTTPException: _no_route},
    )
    return Guard(app, key)


class Routes:
    """What each path does."""

    def __init__(self, service: Service, max_body_bytes: int) -> None:
        self._service, self._max_body_bytes = service, max_body_bytes

    async def chat(self, request: Request) -> Any:
        """The assistant's next turn."""
        body = parse(ChatBody, await read_json(request, self._max_body_bytes))
        self._service.check_model(body.model)
        if not self._service.generator.can_chat:
            raise ApiError(
                400,
                "this model was not trained to chat; let it continue a text with /v1/completions",
                param="model",
                code="model_not_chat_trained",
            )
        return await self._write(request, body, [[message.plain() for message in body.messages]], ChatForm)

    async def text(self, request: Request) -> Any:
        """What follows each prompt."""
        body = parse(TextBody, await read_json(request, self._max_body_bytes))
        self._service.check_model(body.model)
        return await self._write(request, body, body.prompt, TextForm)

    async def models(self, _: Request) -> Response:
        """The one model."""
        return JSONResponse({"object": "list", "data": [self._model()]}, headers=NO_STORE)

    async def model(self, request: Request) -> Response:
        """The one model by its name."""
        self._service.check_model(request.path_params["name"])
        return JSONResponse(self._model(), headers=NO_STORE)

    async def health(self, _: Request) -> Response:
        """Whether requests are taken, and how many texts are in work."""
        thread = self._service.thread
        writing = min(thread.open, thread.slots)
        load = {"writing": writing, "waiting": thread.open - writing}
        if thread.refusing:
            return JSONResponse({"status": "ending", **load}, 503, NO_STORE)
        return JSONResponse({"status": "ok", **load}, headers=NO_STORE)

    def _model(self) -> dict[str, Any]:
        service = self._service
        return {
            "id": service.name,
            "object": "model",
            "created": service.created,
            "owned_by": "mateconv",
            "max_model_len": service.context,  # as vLLM calls it
            "chat": service.generator.can_chat,
        }

    async def _write(self, request: Request, body: Options, prompts: Sequence[Prompt], kind: type[Form]) -> Any:
        service = self._service
        form = kind(service.name)
        work = await service.prepare(prompts, options_of(body, service.usual), longest(body))
        if body.stream:
            usage = body.stream_options is not None and body.stream_options.include_usage
            return EventStream(service.stream(work, form, usage))
        answer = await unless_gone(request.receive, service.whole(work, form))
        return JSONResponse(answer, headers=NO_STORE)


def _told(handler: Handler) -> Handler:
    """`handler` with its refusals as responses."""

    async def handle(request: Request) -> Any:
        try:
            return await handler(request)
        except ApiError as error:
            return error.response()
        except UserError as error:
            return ApiError(400, str(error)).response()
        except (ClientGone, ClientDisconnect):
            return Response(status_code=CLIENT_CLOSED)
        except Exception:
            LOG.exception("%s %s failed", request.method, request.url.path)
            return failed().response()

    return handle


def _no_route(request: Request, error: Exception) -> Response:
    """An unknown path or method."""
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path} is not served here; see docs/serving.md for what is"
    return ApiError(error.status_code, message, code="not_found", headers=error.headers).response()
