"""`--serve`: listen, say where, answer until SIGTERM or Ctrl-C, and let answers in work end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from foundation.cli import EXIT_FAILURE
from foundation.errors import UserError, first_line
from generation.config import GenerationConfig
from generation.serving.flags import ServingFlags, find_key, is_loopback
from generation.text import TextGenerator

try:
    import uvicorn

    from generation.serving.app import make_app
    from generation.serving.engine_thread import EngineThread
    from generation.serving.service import Service
except ModuleNotFoundError as error:
    if error.name not in ("uvicorn", "starlette"):
        raise
    raise UserError(f'--serve needs {error.name}; install it with: pip install -e ".[serve]"') from None

CONNECTIONS = 1000
"""More at a time are refused (503), long before the process runs out of files."""


def serve(generator: TextGenerator, config: GenerationConfig, flags: ServingFlags, name: str) -> int:
    """Serve `generator` until a signal, or until no engine can be made; the exit code. `config` holds for what a
    request does not say, and `name` is the model's where the flags name none."""
    key = find_key(flags)
    service = make_service(generator, config, flags, name)
    listener = listen(flags.host, flags.port)
    print(greeting(service, listener, flags.host, key), file=sys.stderr, flush=True)
    GracefulServer(service, key, flags).run(sockets=[listener])
    error = service.thread.failure
    if error is None:
        return 0
    print(f"error: no engine can be made ({first_line(error)}); the server ends, start it again", file=sys.stderr)
    return EXIT_FAILURE


def make_service(generator: TextGenerator, config: GenerationConfig, flags: ServingFlags, name: str) -> Service:
    """The model behind a thread that is not started yet."""
    thread = EngineThread(generator.make_engine, generator.slots, flags.max_waiting)
    return Service(generator, config, flags.model_name or name, thread)


def default_name(source: Path) -> str:
    """What a model is called by where it lies: out/finetune/chat/best is chat, a directory of its own is its name."""
    source = source.resolve()
    parts = [part for part in (source.stem if source.suffix == ".pth" else source.name, source.parent.name) if part]
    return parts[-1] if parts[0] in ("best", "final", "ckpt") else parts[0]


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. `UserError` for an address that is taken or not this machine's."""
    bare = host.strip("[]")
    try:
        family = socket.getaddrinfo(bare, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((bare, port), family=family, backlog=512)
    except OSError as error:
        raise UserError(
            f"--host {host} --port {port}: cannot listen there ({os.strerror(error.errno) if error.errno else error}); "
            "choose another --port (0 takes a free one) or check --host"
        ) from None


def greeting(service: Service, listener: socket.socket, host: str, key: str | None) -> str:
    """Where the server is and what it serves."""
    shown = f"[{host.strip('[]')}]" if ":" in host else host
    address = f"http://{shown}:{listener.getsockname()[1]}"
    lines = [f"{service.name} at {address}/v1 (OpenAI's API), a page to chat at {address}/"]
    if not service.generator.can_chat:
        lines.append("this model was not trained to chat: /v1/completions continues texts, the page does, too")
    if key is not None:
        lines.append("clients send the key as `Authorization: Bearer …`; the page asks for it under Options")
    if not is_loopback(host):
        lines.append("texts and key travel in plain HTTP: put a proxy with TLS before it on a network you do not trust")
    return "\n".join([*lines, "Ctrl-C ends it."])


class GracefulServer(uvicorn.Server):
    """uvicorn, which on a signal takes no more requests and gives answers in work their time."""

    def __init__(self, service: Service, key: str | None, flags: ServingFlags) -> None:
        self._service, self._grace = service, flags.grace_seconds
        super().__init__(
            uvicorn.Config(
                make_app(service, key, flags.max_body_bytes),
                http="h11",
                ws="none",
                lifespan="on",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=CONNECTIONS,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=int(flags.grace_seconds) + 5,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but the signal is not raised once more at the end: it was obeyed."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal ends the server, the second one does not wait for answers."""
        if self.should_exit:
            self.force_exit = True
        elif self._service.thread.open:
            print(f"ending: answers in work have {self._grace:g} s; the same again ends them now", file=sys.stderr)
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """As uvicorn's, ten times a second; a server without an engine ends."""
        self.should_exit = self.should_exit or self._service.thread.failure is not None
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; answers that are not finished in time end with an error."""
        timer = asyncio.get_running_loop().call_later(self._grace, self._service.thread.abandon)
        await super().shutdown(sockets)
        timer.cancel()
