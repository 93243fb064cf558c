"""Slots, queue and ends: clients that leave, a queue that is full, an engine that fails, signals."""

from __future__ import annotations

import http.client
import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

import inference
from foundation.errors import UserError
from generation.config import GenerationConfig, GenerationSettings
from generation.engine import Engine, Token
from generation.serving.flags import ServingFlags
from generation.serving.run import default_name, greeting, listen, make_service, serve
from generation.text import TextGenerator
from tests.generation.serving.conftest import USUAL, Running, running

TEXT = "/v1/completions"


def post(server: Running, body: dict[str, Any]) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", TEXT, json.dumps(body), {"Content-Type": "application/json"})
    return connection


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_slot(long_server: Running, stream: bool) -> None:
    """The only slot writes 7,000 tokens; when their reader goes, the next request has it at once."""
    body = {"prompt": "the cat", "stream": stream, "max_tokens": 7000}
    begun = time.monotonic()
    long_server.post_and_leave(TEXT, body, receive=300 if stream else 0)
    long_server.until(lambda: long_server.service.thread.open == 0)
    assert long_server.ask("POST", TEXT, {"prompt": "the dog", "max_tokens": 3})[0] == 200
    freed = time.monotonic() - begun
    long_server.ask("POST", TEXT, {"prompt": "the cat", "max_tokens": 1000})
    assert freed < time.monotonic() - begun - freed, "1,000 tokens took less time than was saved of 7,000"


def test_a_full_queue_refuses_with_a_reason(long_server: Running) -> None:
    open_ones = [post(long_server, {"prompt": "the cat", "stream": True}) for _ in range(2)]
    long_server.until(lambda: long_server.service.thread.open == 2)
    assert long_server.ask("GET", "/health")[2] == {"status": "ok", "writing": 1, "waiting": 1}
    status, headers, body = long_server.ask("POST", TEXT, {"prompt": "the dog"})
    assert (status, headers["retry-after"], body["error"]["code"]) == (429, "1", "queue_full")
    status, _, body = long_server.ask("POST", TEXT, {"prompt": "the dog", "n": 3})
    assert status == 400 and "at most 2" in body["error"]["message"]
    for connection in open_ones:
        connection.close()
    long_server.until(lambda: long_server.service.thread.open == 0)
    assert long_server.ask("POST", TEXT, {"prompt": "the dog", "max_tokens": 3})[0] == 200


def test_an_engine_that_fails_is_replaced(
    make_generator: Callable[..., TextGenerator], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What it was writing ends with an error, streamed or not; then all goes on."""
    left = [3]
    step = Engine.step

    def failing(engine: Engine) -> list[Token]:
        left[0] -= 1
        if left[0] == 0:
            raise RuntimeError("out of memory")
        return step(engine)

    with running(make_generator()) as server:
        monkeypatch.setattr(Engine, "step", failing)
        status, _, body = server.ask("POST", TEXT, {"prompt": "the cat"})
        assert status == 500 and "server's log" in body["error"]["message"] and "memory" not in json.dumps(body)
        left[0] = 3
        status, _, text = server.ask("POST", TEXT, {"prompt": "the cat", "stream": True})
        assert status == 200 and '"server_error"' in text and "[DONE]" not in text
        assert server.ask("POST", TEXT, {"prompt": "the cat"})[0] == 200
        assert server.service.thread.open == 0


def test_answers_that_outlive_the_grace_end_with_an_error(long_server: Running) -> None:
    answer = post(long_server, {"prompt": "the cat", "stream": True}).getresponse()
    assert answer.readline().startswith(b"data: {")
    long_server.server.should_exit = True
    rest = answer.read().decode()
    assert "shutting_down" in rest and "[DONE]" not in rest


def said_port(capfd: pytest.CaptureFixture[str]) -> int:
    """The port that the command says it listens on, once it does."""
    shown = ""
    while "OpenAI" not in shown:
        time.sleep(0.01)
        shown += capfd.readouterr().err
    return int(shown.partition("127.0.0.1:")[2].partition("/")[0])


def test_an_engine_that_cannot_be_replaced_ends_the_command(
    make_generator: Callable[..., TextGenerator], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whoever waits is told, and the command exits with 1 and the cause in a line."""
    generator = make_generator()
    engines = [generator.make_engine()]
    answers: list[int] = []

    def gone(*_: Any) -> NoReturn:
        raise RuntimeError("the device is gone\nand more about it")

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", said_port(capfd), timeout=60)
        connection.request("POST", TEXT, json.dumps({"prompt": "the"}), {"Content-Type": "application/json"})
        answers.append(connection.getresponse().status)

    monkeypatch.setattr(Engine, "step", lambda engine: [] if engine.idle else gone())
    monkeypatch.setattr(generator, "make_engine", lambda: engines.pop() if engines else gone())
    asking = threading.Thread(target=ask)
    asking.start()
    assert serve(generator, USUAL, ServingFlags(port=0), "tiny") == 1
    asking.join(60)
    assert answers == [500]
    assert "error: no engine can be made (the device is gone); the server ends" in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_command_when_answers_are_whole(
    make_generator: Callable[..., TextGenerator], capfd: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    """In the main thread, as the command runs it; the exit code is 0 and earlier handlers are back."""
    generator = make_generator(endless=True, max_position_embeddings=1000)
    answers: list[str] = []
    before = signal.getsignal(number)

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", said_port(capfd), timeout=60)
        connection.request(
            "POST", TEXT, json.dumps({"prompt": "the", "stream": True}), {"Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        first = answer.readline()
        os.kill(os.getpid(), number)
        answers.append(first.decode() + answer.read().decode())

    asking = threading.Thread(target=ask)
    asking.start()
    code = serve(generator, GenerationConfig(max_new_tokens=600, temperature=0), ServingFlags(port=0), "tiny")
    asking.join(60)
    assert code == 0 and answers[0].endswith("data: [DONE]\n\n") and signal.getsignal(number) == before


def test_addresses_that_cannot_be_had() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(UserError, match="choose another --port"):
        listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(UserError, match=r"--host 203\.0\.113\.9 .* cannot listen there"):
        listen("203.0.113.9", 0)


def test_what_is_said_at_the_start(make_generator: Callable[..., TextGenerator]) -> None:
    service = make_service(make_generator(chat_trained=False), USUAL, ServingFlags(model_name="m"), "tiny")
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        own = greeting(service, listener, "127.0.0.1", None)
        others = greeting(service, listener, "::", "secret-key")
    assert own.startswith(f"m at http://127.0.0.1:{port}/v1 ") and "not trained to chat" in own and "TLS" not in own
    assert f"http://[::]:{port}/" in others and "TLS" in others and "secret-key" not in others


def test_without_the_extra_its_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "generation.serving.run")
    with pytest.raises(UserError, match=r'needs uvicorn; install it with: pip install -e "\.\[serve\]"'):
        importlib.import_module("generation.serving.run")


def test_the_command_serves(make_generator: Callable[..., TextGenerator], monkeypatch: pytest.MonkeyPatch) -> None:
    """With its flags, and its options of sampling for what requests do not say."""
    asked: list[Any] = []

    def record(*given: Any) -> int:
        asked.extend(given)
        return 7

    monkeypatch.setattr("generation.serving.run.serve", record)
    generator, settings = make_generator(), GenerationSettings(top_k=9)
    flags = inference.Flags(serve=True, greedy=True, port=81)
    assert inference._write(generator, Path("out/finetune/chat/best"), flags, settings) == 7
    assert asked == [generator, GenerationConfig(top_k=9, do_sample=False), flags, "chat"]


def test_names_of_models(tmp_path: Any) -> None:
    for place, name in [
        ("out/best", "out"),
        ("out/finetune/chat/final", "chat"),
        ("SmolLM", "SmolLM"),
        ("out/ckpt.pth", "out"),
    ]:
        assert default_name(tmp_path / place) == name
