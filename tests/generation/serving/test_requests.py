"""Malformed and oversized requests get 4xx and a reason, in OpenAI's error object; none reaches the model."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generation.serving import body
from generation.serving.errors import ApiError
from generation.serving.protocol import ChatBody, TextBody, parse
from generation.text import TextGenerator
from tests.generation.serving.conftest import Running, running

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
SAY = [{"role": "user", "content": "the cat"}]


def check_refused(answer: tuple[int, dict[str, str], Any], status: int, says: str) -> None:
    assert answer[0] == status, answer
    error = answer[2]["error"]
    assert says in error["message"] and set(error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("path", "sent", "says"),
    [
        (CHAT, {}, "messages: field required"),
        (CHAT, {"messages": []}, "messages: list should have at least 1"),
        (CHAT, {"messages": SAY * 3000}, "messages: list should have at most 2048"),
        (CHAT, {"messages": "hi"}, "messages: input should be a valid list"),
        (CHAT, {"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        (CHAT, {"messages": [{"role": "user"}]}, "messages.0.content"),
        (CHAT, {"messages": [{"role": "user", "content": 7}]}, "must be a text or a list"),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]}, "'text'"),
        (CHAT, {"messages": [{"role": "user", "content": "\ud83d"}]}, "half of a surrogate pair"),
        (CHAT, {"messages": SAY, "temprature": 1}, "did you mean temperature?"),
        (CHAT, {"messages": SAY, "\ud800": 1}, "unicode"),
        (CHAT, {"messages": SAY, "temperature": "hot"}, "temperature: input should be a valid number"),
        (CHAT, {"messages": SAY, "temperature": -1}, "temperature: input should be greater"),
        (CHAT, {"messages": SAY, "temperature": 1e999}, "Infinity"),
        (CHAT, {"messages": SAY, "temperature": 1e40}, "temperature: input should be less than or equal to 1000"),
        (CHAT, {"messages": SAY, "repetition_penalty": 1e-40}, "repetition_penalty: input should be greater"),
        (CHAT, {"messages": SAY, "repetition_penalty": 1e40}, "repetition_penalty: input should be less"),
        (CHAT, {"messages": SAY, "top_p": 0}, "top_p"),
        (CHAT, {"messages": SAY, "n": 0}, "n: input"),
        (CHAT, {"messages": SAY, "n": 1000}, "n: input"),
        (CHAT, {"messages": SAY, "n": True}, "n: input should be a valid integer"),
        (CHAT, {"messages": SAY, "seed": -1}, "seed"),
        (CHAT, {"messages": SAY, "max_tokens": 0}, "max_tokens"),
        (CHAT, {"messages": SAY, "max_tokens": 3, "max_completion_tokens": 4}, "differ"),
        (CHAT, {"messages": SAY, "max_tokens": 90}, "90 for the answer"),
        (CHAT, {"messages": SAY, "stop": [""]}, "stops nothing"),
        (CHAT, {"messages": SAY, "stop": 3}, "stop"),
        (CHAT, {"messages": SAY, "stream_options": {"include_use": True}}, "unknown field"),
        (CHAT, {"messages": SAY, "top_logprobs": 2}, "goes with logprobs"),
        (CHAT, {"messages": SAY, "tools": [{"type": "function"}]}, "tools: this server does not do that"),
        (CHAT, {"messages": SAY, "response_format": {"type": "json_object"}}, "response_format"),
        (CHAT, {"messages": SAY, "preset": "bold"}, "preset"),
        (CHAT, [1], "a JSON list"),
        (TEXT, {"prompt": 3}, "must be a text"),
        (TEXT, {"prompt": [1, 2, 3]}, "token ids are not taken"),
        (TEXT, {"prompt": ["a", "\udc00"]}, "prompt.1: holds half"),
        (TEXT, {"prompt": ["a"] * 80}, "at most 72"),
        (TEXT, {"prompt": "a", "echo": True}, "echo"),
        (TEXT, {"prompt": "cat " * 200}, "context holds 97 tokens; the prompt has 2"),
        (TEXT, {"messages": SAY}, "prompt: field required"),
        (TEXT, b"{", "not JSON"),
        (TEXT, b'{"prompt": "\xff"}', "not JSON"),
        (TEXT, b'{"prompt": "a", "seed": NaN}', "NaN is no JSON number"),
        (TEXT, b'{"prompt": "a", "seed": ' + b"9" * 5000 + b"}", "not JSON"),
        (TEXT, b"[" * 100_000, "nested too deeply"),
        (TEXT, b'{"prompt":' * 500 + b"1" + b"}" * 500, "must be a text"),
    ],
)  # fmt: skip
def test_malformed(chat_server: Running, path: str, sent: Any, says: str) -> None:
    if says == "Infinity":
        sent, says = json.dumps(sent).encode(), "Infinity is no JSON number"
    check_refused(chat_server.ask("POST", path, sent), 400, says)
    assert chat_server.service.thread.open == 0


def test_what_asks_for_nothing_is_no_fault(chat_server: Running) -> None:
    """Clients send fields at their defaults, nulls, and messages as they got them."""
    message = {"role": "assistant", "content": "yes", "refusal": None, "tool_calls": None}
    body = {
        "model": None, "messages": [*SAY, message, *SAY], "tools": [], "tool_choice": "none", "user": "me", "n": None,
        "response_format": {"type": "text"}, "store": False, "logit_bias": {}, "max_tokens": 3, "stop": None,
    }  # fmt: skip
    assert chat_server.ask("POST", CHAT, body)[0] == 200


def test_the_outermost_options_write_texts(chat_server: Running) -> None:
    """A temperature that only means greedy (some clients cannot say 0), and the ends of what is taken."""
    greedy = chat_server.ask("POST", TEXT, {"prompt": "the cat", "temperature": 0})[2]["choices"][0]["text"]
    for sent in ({"temperature": 1e-40}, {"temperature": 1e-8, "top_k": 0, "top_p": 1}):
        status, _, answer = chat_server.ask("POST", TEXT, {"prompt": "the cat", **sent})
        assert status == 200 and answer["choices"][0]["text"] == greedy
    for temperature, penalty in ((1e-4, 0.01), (1e-4, 100), (1000, 0.01), (1000, 100)):
        ends: dict[str, Any] = {"prompt": "the cat", "temperature": temperature, "repetition_penalty": penalty}
        for asked in (ends, {**ends, "top_k": 0, "top_p": 1}):
            assert chat_server.ask("POST", TEXT, asked)[0] == 200, asked


def test_other_paths_and_methods(chat_server: Running) -> None:
    check_refused(chat_server.ask("POST", "/v1/embeddings", {}), 404, "/v1/embeddings is not served")
    check_refused(chat_server.ask("GET", CHAT), 405, "GET /v1/chat")
    assert chat_server.ask("GET", "/health")[2] == {"status": "ok", "writing": 0, "waiting": 0}


def test_bodies_of_other_kinds(chat_server: Running) -> None:
    """A form or text/plain is what another site's page could send unasked."""
    answer = chat_server.ask("POST", TEXT, b"{}", Content_Type="text/plain")
    check_refused(answer, 415, "send JSON as application/json")
    assert not any(name.startswith("access-control") for name in answer[1])
    check_refused(chat_server.ask("OPTIONS", TEXT, Origin="http://evil.example"), 405, "OPTIONS")


def test_bodies_too_large(make_generator: Callable[..., TextGenerator]) -> None:
    """With the length said before, and in chunks that say nothing; it is not read to its end."""
    with running(make_generator(), max_body_bytes=1000) as server:
        check_refused(server.ask("POST", TEXT, {"prompt": "a" * 1000}), 413, "larger than 1000 bytes")
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
            head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            client.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + b"3e8\r\n" + b" " * 1000 + b"\r\n")
            client.sendall(b"1\r\n \r\n")
            assert client.recv(4096).startswith(b"HTTP/1.1 413")


def test_a_body_that_does_not_come(chat_server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "READING_SECONDS", 0.1)
    with socket.create_connection(("127.0.0.1", chat_server.port), timeout=30) as client:
        head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        client.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
        assert client.recv(4096).startswith(b"HTTP/1.1 408")


def test_a_model_that_was_not_trained_to_chat(make_generator: Callable[..., TextGenerator]) -> None:
    with running(make_generator(chat_trained=False)) as server:
        check_refused(server.ask("POST", CHAT, {"messages": SAY}), 400, "not trained to chat")
        assert server.ask("POST", TEXT, {"prompt": "the cat"})[0] == 200
        assert server.ask("GET", "/v1/models")[2]["data"][0]["chat"] is False


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=80, deadline=None)
@given(
    st.dictionaries(st.sampled_from([*ChatBody.model_fields, "tools", "x", "prompt"]), JSON, max_size=5),
    st.sampled_from([ChatBody, TextBody]),
)
def test_any_body_is_read_or_refused(body: dict[str, Any], kind: type[ChatBody]) -> None:
    try:
        parse(kind, body)
    except ApiError as error:
        assert 400 <= error.status < 500 and error.message
        json.dumps(error.body(), ensure_ascii=False).encode()
