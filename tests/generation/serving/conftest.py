"""Servers in a thread of the test's process, over tiny models."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from generation.config import GenerationConfig
from generation.serving.flags import ServingFlags, find_key
from generation.serving.run import GracefulServer, listen, make_service
from generation.serving.service import Service
from generation.text import TextGenerator
from model.decoder import Decoder
from tokenization.tokenizer import Tokenizer

USUAL = GenerationConfig(max_new_tokens=24, seed=3)


@dataclass
class Running:
    """A server that listens."""

    port: int
    service: Service
    server: GracefulServer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], Any]:
        """Status, headers and the decoded body. A body that is not bytes is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, path, raw, sent | {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        kind = answer.headers.get("content-type", "")
        told = {name.lower(): value for name, value in answer.headers.items()}
        return answer.status, told, json.loads(content) if "json" in kind else content.decode()

    def post_and_leave(self, path: str, body: Any, receive: int) -> None:
        """Ask, read at most so many bytes and close the connection without waiting for more."""
        raw = json.dumps(body).encode()
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as client:
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            client.sendall(f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw)
            if receive:
                assert client.recv(receive)
            else:
                self.until(lambda: self.service.thread.open > 0)

    def until(self, true: Callable[[], bool]) -> float:
        """Wait until something is true; the seconds that took."""
        begun = time.monotonic()
        while not true():
            assert time.monotonic() < begun + 30
            time.sleep(0.01)
        return time.monotonic() - begun


@contextmanager
def running(generator: TextGenerator, usual: GenerationConfig = USUAL, **flags: Any) -> Iterator[Running]:
    """A server of `generator` until the block ends."""
    given = ServingFlags(serve=True, port=0, model_name="tiny", grace_seconds=0.1, **flags)
    service = make_service(generator, usual, given, "tiny")
    listener = listen(given.host, 0)
    server = GracefulServer(service, find_key(given), given)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    found = Running(listener.getsockname()[1], service, server)
    found.until(lambda: server.started)
    try:
        yield found
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive(), "the server did not end"


@pytest.fixture(scope="package")
def make_generator(make_model: Callable[..., Decoder], chat_tokenizer: Tokenizer) -> Callable[..., TextGenerator]:
    """`make_generator(chat_trained=…, slots=…, endless=…, **config)`; an endless one never ends a text by itself when
    it is greedy."""

    def make(chat_trained: bool = True, slots: int = 8, endless: bool = False, **config: Any) -> TextGenerator:
        model = make_model(**config)
        if endless:
            with torch.no_grad():
                model.head_weight[sorted(chat_tokenizer.special_ids)] = 0  # others' logits are far from 0
        return TextGenerator(model, chat_tokenizer, mateconv={"chat_trained": chat_trained}, slots=slots)

    return make


@pytest.fixture(scope="package")
def chat_server(make_generator: Callable[..., TextGenerator]) -> Iterator[Running]:
    """A chat model with a context of 97 tokens, 8 texts at a time and 64 more that may wait."""
    with running(make_generator()) as found:
        yield found


@pytest.fixture
def long_server(make_generator: Callable[..., TextGenerator]) -> Iterator[Running]:
    """Writes one text at a time, of up to thousands of tokens; one more may wait."""
    generator = make_generator(slots=1, endless=True, max_position_embeddings=8000)
    with running(generator, GenerationConfig(max_new_tokens=7000, temperature=0), max_waiting=1) as found:
        yield found
