from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from generation.config import GenerationConfig
from generation.interactive import converse
from generation.text import TextGenerator
from model.decoder import Decoder
from tokenization.tokenizer import Tokenizer

CONFIG = GenerationConfig(seed=2, max_new_tokens=9)


def _talk(generator: TextGenerator, lines: list[str | BaseException]) -> str:
    source, shown = iter(lines), []

    def read(prompt: str) -> str:
        shown.append(prompt)
        line = next(source, EOFError())
        if isinstance(line, BaseException):
            raise line
        return line

    converse(generator, CONFIG, read, shown.append)
    return "".join(shown)


@pytest.fixture
def base(make_model: Callable[..., Decoder], tokenizer: Tokenizer) -> TextGenerator:
    return TextGenerator(make_model(), tokenizer, mateconv={"chat_trained": False})


@pytest.fixture
def chatting(make_model: Callable[..., Decoder], chat_tokenizer: Tokenizer) -> TextGenerator:
    return TextGenerator(make_model(), chat_tokenizer, mateconv={"chat_trained": True})


def test_a_base_model_says_once_that_it_continues_text(base: TextGenerator) -> None:
    shown = _talk(base, ["the cat", "", "the cat"])
    continuation = "the cat" + base.generate("the cat", CONFIG)
    assert shown.count("not trained to chat") == 1
    assert shown.count(continuation) == 2
    assert shown.endswith("> \n")


@pytest.mark.parametrize("word", ["exit", "quit", "q", "QUIT", " q "])
def test_words_that_leave(base: TextGenerator, word: str) -> None:
    assert base.tokens_generated == 0
    shown = _talk(base, [word, "never read"])
    assert base.tokens_generated == 0 and shown.endswith("> ")


@pytest.mark.parametrize("end", [EOFError(), KeyboardInterrupt()])
def test_end_of_input_and_ctrl_c_at_the_prompt_leave(base: TextGenerator, end: BaseException) -> None:
    assert _talk(base, [end]).endswith("> \n")


def test_bad_bytes_on_the_terminal_do_not_end_the_loop(base: TextGenerator) -> None:
    shown = _talk(base, [UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "the cat"])
    assert "not UTF-8" in shown and "the cat" + base.generate("the cat", CONFIG) in shown


def test_a_chat_remembers_until_clear(chatting: TextGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    histories: list[list[dict[str, str]]] = []

    def chat(history: list[dict[str, str]], config: GenerationConfig, **_: Any) -> Iterator[str]:
        histories.append([dict(message) for message in history])
        yield from ("an", "swer")

    monkeypatch.setattr(chatting, "chat", chat)
    shown = _talk(chatting, ["one", "two", "clear", "three"])
    assert "not trained" not in shown and shown.count("answer\n") == 3
    assert [[m["content"] for m in history] for history in histories] == [
        ["one"],
        ["one", "answer", "two"],
        ["three"],
    ]


def test_ctrl_c_ends_the_answer_only(chatting: TextGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    histories: list[list[str]] = []

    def chat(history: list[dict[str, str]], config: GenerationConfig, **_: Any) -> Iterator[str]:
        histories.append([message["content"] for message in history])
        yield "half"
        raise KeyboardInterrupt

    monkeypatch.setattr(chatting, "chat", chat)
    _talk(chatting, ["one", "two"])
    assert histories == [["one"], ["one", "half", "two"]]
