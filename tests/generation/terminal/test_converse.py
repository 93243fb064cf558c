from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from generation.config import GenerationConfig
from generation.terminal.converse import converse
from generation.terminal.options import TYPED, set_option
from generation.text import TextGenerator
from model.decoder import Decoder
from tests.generation.terminal.typist import typist
from tokenization.tokenizer import Tokenizer

CONFIG = GenerationConfig(seed=2, max_new_tokens=9)


def _talk(generator: TextGenerator, lines: Sequence[str | BaseException], config: GenerationConfig = CONFIG) -> str:
    shown: list[str] = []
    converse(generator, config, typist(lines, shown), shown.append)
    return "".join(shown)


def _answers(shown: str) -> list[str]:
    """What followed each prompt."""
    return [part.removesuffix("\n") for part in shown.split("> ")[1:]]


@pytest.fixture
def base(make_model: Callable[..., Decoder], tokenizer: Tokenizer) -> TextGenerator:
    return TextGenerator(make_model(), tokenizer, mateconv={"chat_trained": False})


@pytest.fixture
def chatting(make_model: Callable[..., Decoder], chat_tokenizer: Tokenizer) -> TextGenerator:
    return TextGenerator(make_model(), chat_tokenizer, mateconv={"chat_trained": True})


@pytest.fixture
def histories(chatting: TextGenerator, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The contents of each history that `chatting` was given; it answers `answer 1`, `answer 2`, …"""
    seen: list[list[str]] = []

    def chat(history: list[dict[str, str]], config: GenerationConfig, **_: Any) -> Iterator[str]:
        seen.append([message["content"] for message in history])
        yield from ("answer", f" {len(seen)}")

    monkeypatch.setattr(chatting, "chat", chat)
    return seen


def test_a_base_model_says_once_that_it_continues_text(base: TextGenerator) -> None:
    shown = _talk(base, ["the cat", "", "the cat"])
    continuation = "the cat" + base.generate("the cat", CONFIG)
    assert shown.count("not trained to chat") == 1
    assert shown.count(continuation) == 2
    assert shown.endswith("> \n")


def test_leaving_asks_the_model_nothing(base: TextGenerator) -> None:
    assert _talk(base, [" QUIT ", "never read"]).endswith("> ") and base.engine.usage.tokens == 0


def test_a_chat_remembers_until_clear(chatting: TextGenerator, histories: list[list[str]]) -> None:
    shown = _talk(chatting, ["one", "two", "clear", "three", "/clear", "four"])
    assert "not trained" not in shown and shown.count("(forgotten)") == 2
    assert histories == [["one"], ["one", "answer 1", "two"], ["three"], ["four"]]


def test_undo_takes_back_the_last_text_and_its_answer(chatting: TextGenerator, histories: list[list[str]]) -> None:
    shown = _answers(_talk(chatting, ["/undo", "one", "two", "/undo", "three", "/undo", "/undo", "/undo", "four"]))
    assert [shown[n] for n in (0, 3, 5, 6, 7)] == [
        "nothing was said yet",
        "(forgotten: two)",
        "(forgotten: three)",
        "(forgotten: one)",
        "nothing was said yet",
    ]
    assert histories == [["one"], ["one", "answer 1", "two"], ["one", "answer 1", "three"], ["four"]]


def test_retry_answers_in_the_place_of_the_last_answer(chatting: TextGenerator, histories: list[list[str]]) -> None:
    _talk(chatting, ["/retry", "one", "/retry", "two"])
    assert histories == [["one"], ["one"], ["one", "answer 2", "two"]]


def test_retries_are_other_answers_and_the_same_in_every_run(base: TextGenerator) -> None:
    first, *again = _answers(_talk(base, ["the cat", "/retry", "/retry", "the cat", "/retry"]))[:5]
    assert len({first, *again[:2]}) == 3
    assert again[2:] == [first, again[0]]
    shown = _answers(_talk(base, ["the cat", "/retry"], CONFIG.replace(temperature=0)))
    assert shown[1].startswith("the answer would be the same")


def test_options_are_set_and_shown(base: TextGenerator) -> None:
    shown = _answers(_talk(base, ["/set temperature 0", "the cat", "/show", "/set preset factual", "/set seed null"]))
    assert shown[0] == "temperature 0.0"
    assert shown[1] == "the cat" + base.generate("the cat", CONFIG.replace(temperature=0))
    assert "  temperature 0.0\n" in shown[2] and "  max_new_tokens 9\n" in shown[2] and "2 messages" in shown[2]
    assert {"preset factual", "temperature 0.2", "top_k 20"} <= set(shown[3].split(", "))
    assert shown[4] == "seed null"


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("temperature=0.7", {"temperature": 0.7}),
        ("top-k = 9", {"top_k": 9}),
        ("do_sample false", {"do_sample": False}),
        ("""stop 'a b' "=" 床""", {"stop": ("a b", "=", "床")}),
        ("stop_strings none", {"stop": ()}),
        ("seed 5", {"seed": 5}),
    ],
)
def test_an_option_in_words(words: str, changes: dict[str, Any]) -> None:
    assert set_option(CONFIG, words) == CONFIG.replace(**changes)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("temperatur 0.7", "did you mean temperature"),
        ("temperature", "give a value: /set temperature 0.8"),
        ("temperature warm", "temperature warm: .*number"),
        ("top_p 2", "top_p 2: .*less than or equal to 1"),
        ("stop 'a", "quotation mark"),
        ("logprobs 3", "no option 'logprobs'"),
        ("model_path x", "no option"),
    ],
)
def test_a_wrong_option_is_named(words: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        set_option(CONFIG, words)


def test_every_option_can_be_typed_as_it_is_shown(base: TextGenerator) -> None:
    given = CONFIG.replace(stop=("a b", "'"), preset="chat")
    lines = _answers(_talk(base, ["/show"], given))[0].splitlines()[1:]
    typed = GenerationConfig()
    for line in lines:
        typed = set_option(typed, line.strip())
    assert len(lines) == len(TYPED) and typed == given


def test_a_conversation_is_saved_and_goes_on(
    chatting: TextGenerator, histories: list[list[str]], tmp_path: Path
) -> None:
    path = tmp_path / "talk.json"
    shown = _answers(_talk(chatting, [f"/save {path}", "床前", f"/save {path}", "two", f"/save {path}"]))
    assert shown[0] == "nothing was said yet" and shown[4] == f"({path}: 4 messages)"
    assert json.loads(path.read_bytes())["messages"][0] == {"role": "user", "content": "床前"}
    shown = _answers(_talk(chatting, ["other", f"/load {path}", "three"]))
    assert shown[1].splitlines() == [
        "user: 床前",
        "assistant: answer 1",
        "user: two",
        "assistant: answer 2",
        "(4 messages)",
    ]
    assert histories[-1] == ["床前", "answer 1", "two", "answer 2", "three"]


@pytest.mark.parametrize(
    "content",
    [b"", b"not json", b"[]", b"{}", b'{"messages": [3]}', b'{"messages": [{"role": "x", "content": ""}]}', b"\xff",
     b'{"messages": [{"role": "user"}]}', b'{"messages": []}', b"[" * 100_000,
     b'{"messages": [{"role": "user", "content": "\\ud800"}]}'],
)  # fmt: skip
def test_files_that_are_no_conversation(
    chatting: TextGenerator, histories: list[list[str]], tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    shown = _answers(_talk(chatting, ["one", f"/load {path}", f"/save {path}", "two"]))
    assert (
        shown[1].startswith(f"{path}: ")
        and shown[2] == f"{path}: exists and is no saved conversation; give another name"
    )
    assert path.read_bytes() == content and histories[-1] == ["one", "answer 1", "two"]


def test_paths_that_cannot_be_used_do_not_end_the_loop(
    chatting: TextGenerator, histories: list[list[str]], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    lines = [
        f"/load {tmp_path / 'none'}",
        f"/load {tmp_path}",
        "one",
        f"/save {tmp_path / 'file' / 'x'}",
        "/load ~nobody-here/x",
        "two",
    ]
    shown = _answers(_talk(chatting, lines))
    assert shown[0].endswith("no such file") and str(tmp_path) in shown[1] and str(tmp_path / "file") in shown[3]
    assert shown[4] == "~nobody-here/x: no such file"
    assert len(histories) == 2


def test_what_is_no_command_is_named_and_paths_are_texts(chatting: TextGenerator, histories: list[list[str]]) -> None:
    shown = _answers(_talk(chatting, ["/udno", "/undo all", "/save", "//undo", "/usr/bin is full", "/help"]))
    assert "did you mean /undo" in shown[0] and "//udno" in shown[0]
    assert shown[1] == "/undo takes nothing behind it" and shown[2].startswith("/save FILE: ")
    assert [history[-1] for history in histories] == ["/undo", "/usr/bin is full"]
    for command in ("/help", "/clear", "/undo", "/retry", "/save FILE", "/load FILE", "/set NAME VALUE", "/show"):
        assert f"  {command} " in shown[5]


def test_ctrl_c_ends_the_answer_only(chatting: TextGenerator, monkeypatch: pytest.MonkeyPatch) -> None:
    histories: list[list[str]] = []
    closed: list[int] = []

    def chat(history: list[dict[str, str]], config: GenerationConfig, **_: Any) -> Iterator[str]:
        histories.append([message["content"] for message in history])
        try:
            yield "half"
            signal.raise_signal(signal.SIGINT)
            yield " done"
            yield " never"
        finally:
            closed.append(len(histories))

    monkeypatch.setattr(chatting, "chat", chat)
    shown = _talk(chatting, ["one", "two"])
    assert histories == [["one"], ["one", "half done", "two"]]
    assert shown.count("half done …\n") == 2 and closed == [1, 2]


def test_a_text_that_cannot_be_answered_is_not_remembered(
    chatting: TextGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str | BaseException] = ["\ud800", "/undo", "one", "/retry", "/undo"]
    chat = chatting.chat
    shown = _answers(_talk(chatting, lines[:2]))
    assert "surrogate" in shown[0] and shown[1] == "nothing was said yet"

    def refuse_again(history: list[dict[str, str]], config: GenerationConfig, **_: Any) -> Iterator[str]:
        if config.seed != CONFIG.seed:
            raise UserError("no")
        yield from chat(history, config, stream=True)

    monkeypatch.setattr(chatting, "chat", refuse_again)
    shown = _answers(_talk(chatting, lines[2:]))
    assert shown[1] == "no" and shown[2] == "(forgotten: one)"
