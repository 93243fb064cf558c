from __future__ import annotations

import pytest

from generation.terminal.typed import typed_texts
from tests.generation.terminal.typist import typist


def _texts(*lines: str | BaseException) -> tuple[list[str], list[str]]:
    """The texts, and the prompts that were shown."""
    prompts: list[str] = []
    return list(typed_texts(typist(lines, prompts), lambda _: None)), prompts


@pytest.mark.parametrize(
    ("lines", "texts"),
    [
        (["  one ", "", "two"], ["one", "two"]),
        (["one \\", "  two\\ ", "three", "four"], ["one \n  two\nthree", "four"]),
        (['"""one', "", '  two """ three', '"""', "four"], ['one\n\n  two """ three', "four"]),
        (['"""', "q", 'exit"""', "four"], ["q\nexit", "four"]),
        (['"""one line"""', '""""""', "four"], ["one line", "four"]),
        (["one \\", KeyboardInterrupt(), "four"], ["four"]),
        (['"""one', KeyboardInterrupt(), "four"], ["four"]),
        (["床前\\", "明月光"], ["床前\n明月光"]),
    ],
)
def test_texts_of_several_lines(lines: list[str | BaseException], texts: list[str]) -> None:
    found, prompts = _texts(*lines)
    assert found == texts
    assert len(prompts) == len(lines) + 1  # the last one met the end of the input


def test_the_prompt_says_that_a_text_goes_on() -> None:
    assert _texts("one\\", "two", '"""', '"""')[1] == ["> ", ". ", "> ", ". ", "> "]


@pytest.mark.parametrize("word", ["exit", "quit", "q", "QUIT", " q "])
def test_words_that_leave(word: str) -> None:
    found, prompts = _texts("one", word, "never read")
    assert (found, len(prompts)) == (["one"], 2)


@pytest.mark.parametrize("end", [EOFError(), KeyboardInterrupt()])
def test_end_of_input_and_ctrl_c_at_the_prompt_leave(end: BaseException) -> None:
    assert _texts(end, "never read")[0] == []


def test_a_text_cut_off_by_the_end_of_the_input_is_not_said() -> None:
    assert _texts('"""one', "two")[0] == []


def test_bytes_that_are_no_text_do_not_end_the_loop() -> None:
    assert _texts(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "one")[0] == ["one"]
