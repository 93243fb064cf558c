"""What rows a batch file gives."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from generation.batch_file.run import run_batch
from generation.config import GenerationConfig
from generation.text import TextGenerator
from model.decoder import Decoder
from tokenization.tokenizer import Tokenizer

CONFIG = GenerationConfig(seed=2, max_new_tokens=9)


@pytest.fixture
def generator(make_model: Callable[..., Decoder], tokenizer: Tokenizer) -> TextGenerator:
    return TextGenerator(make_model(), tokenizer, mateconv={"chat_trained": False}, slots=2)


@pytest.fixture
def chatting(make_model: Callable[..., Decoder], chat_tokenizer: Tokenizer) -> TextGenerator:
    return TextGenerator(make_model(), chat_tokenizer, mateconv={"chat_trained": True})


def _rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_errors_stay_in_their_row(generator: TextGenerator, tmp_path: Path) -> None:
    source = tmp_path / "prompts.jsonl"
    source.write_bytes(
        b'\xef\xbb\xbf{"prompt": "the cat"}\r\n\n{"prompt": 3}\nnot json\n\xff\n["prompt"]\n'
        b'{"prompt": "\\ud800"}\n{"prompt": "", "id": 4}\n{"prompt": "caf\xc3\xa9"}\n{"messages": []}\n'
        b'{"messages": [{"role": "user", "content": "a"}]}\n'
        b'{"prompt": "a", "messages": [{"role": "user", "content": ""}]}\n'
        b'{"messages": {"role": "user"}}\n{"messages": [{"role": "robot", "content": "a"}]}'
    )
    output = tmp_path / "out.jsonl"
    assert run_batch(generator, CONFIG, source, output) == 10
    rows = _rows(output.read_text(encoding="utf-8"))
    assert [row["line"] for row in rows] == [1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
    good = {row["prompt"]: row["completion"] for row in rows if "error" not in row}
    assert good == {prompt: generator.generate(prompt, CONFIG) for prompt in ("the cat", "", "café")}
    errors = {row["line"]: row["error"] for row in rows if "error" in row}
    for number, says in {
        3: "prompt", 4: "JSON", 5: "UTF-8", 6: "'prompt'", 7: "surrogate", 10: "no message", 11: "not trained to chat",
        12: "both", 13: "list", 14: "robot",
    }.items():  # fmt: skip
        assert says in errors[number], errors[number]


def test_a_text_file_has_a_prompt_a_line(generator: TextGenerator, tmp_path: Path) -> None:
    source = tmp_path / "prompts.txt"
    source.write_text("the cat\n\n  indented\n", encoding="utf-8")
    stdout = io.StringIO()
    assert run_batch(generator, CONFIG, source, None, stdout=stdout) == 0
    assert [(row["line"], row["prompt"]) for row in _rows(stdout.getvalue())] == [(1, "the cat"), (3, "  indented")]


def test_rows_come_in_the_file_s_order_with_what_ended_them(
    generator: TextGenerator, make_model: Callable[..., Decoder], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    prompts = [text[:length] for length in (11, 3, 25, 1, 8) for text in ("the cat sat on the mat, and", "床前明月光")]
    source = tmp_path / "prompts.jsonl"
    source.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    config = CONFIG.replace(max_new_tokens=23, stop=("e", "光"), logprobs=1)
    stdout = io.StringIO()
    assert run_batch(generator, config, source, None, stdout=stdout) == 0
    rows = _rows(stdout.getvalue())
    alone = TextGenerator(make_model(), tokenizer, mateconv={"chat_trained": False})
    assert [row["prompt"] for row in rows] == prompts
    for row, prompt in zip(rows, prompts, strict=True):
        (expected,) = alone.complete(prompt, config)
        assert (row["completion"], row["finish_reason"]) == (expected.text, expected.finish_reason)
        assert (row["prompt_tokens"], row["completion_tokens"]) == (expected.prompt_tokens, expected.completion_tokens)
        assert [token["token"] for token in row["logprobs"]] == [token.text for token in expected.logprobs or ()]
        assert all(len(token["top"]) == 1 for token in row["logprobs"])
    assert len({row["finish_reason"] for row in rows}) == 2


def test_several_texts_of_a_prompt(generator: TextGenerator, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("the cat\na\n")
    config, stdout = CONFIG.replace(num_return_sequences=3), io.StringIO()
    run_batch(generator, config, tmp_path / "p.txt", None, stdout=stdout)
    for row in _rows(stdout.getvalue()):
        texts = [completion["completion"] for completion in row["completions"]]
        assert texts == [completion.text for completion in generator.complete(row["prompt"], config)]
        assert len(set(texts)) == 3


def test_a_chat_model_answers(chatting: TextGenerator, tmp_path: Path) -> None:
    history = [{"role": role, "content": text} for role, text in (("user", "a"), ("assistant", "b"), ("user", "c"))]
    source = tmp_path / "p.jsonl"
    source.write_text(json.dumps({"prompt": "the cat"}) + "\n" + json.dumps({"messages": history}) + "\n")
    stdout = io.StringIO()
    assert run_batch(chatting, CONFIG, source, None, stdout=stdout) == 0
    first, second = _rows(stdout.getvalue())
    assert first["completion"] == chatting.chat([{"role": "user", "content": "the cat"}], CONFIG)
    assert second["messages"] == history and second["completion"] == chatting.chat(history, CONFIG)


def test_without_a_seed_equal_prompts_differ(generator: TextGenerator, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("the cat\n" * 4)
    run_batch(generator, CONFIG.replace(seed=None), tmp_path / "p.txt", tmp_path / "o.jsonl")
    assert len({row["completion"] for row in _rows((tmp_path / "o.jsonl").read_text())}) == 4


def test_unusable_files_are_named(generator: TextGenerator, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "x.csv").write_text("a")
    for name, says in (
        ("missing.txt", "check --batch_file"),
        ("x.csv", ".jsonl"),
        ("empty.txt", "no prompt"),
    ):
        with pytest.raises(UserError, match=says):
            run_batch(generator, CONFIG, tmp_path / name, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()
