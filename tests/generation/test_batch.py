from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from foundation.errors import UserError
from generation.batch import run_batch
from generation.config import GenerationConfig
from generation.text import TextGenerator
from model.decoder import Decoder
from tokenization.tokenizer import Tokenizer

CONFIG = GenerationConfig(seed=2, max_new_tokens=9)


@pytest.fixture
def generator(make_model: Callable[..., Decoder], tokenizer: Tokenizer) -> TextGenerator:
    return TextGenerator(make_model(), tokenizer, mateconv={"chat_trained": False})


@pytest.mark.parametrize("batch_size", [1, 2, 50])
def test_errors_stay_in_their_row(generator: TextGenerator, tmp_path: Path, batch_size: int) -> None:
    source = tmp_path / "prompts.jsonl"
    source.write_bytes(
        b'\xef\xbb\xbf{"prompt": "the cat"}\r\n\n{"prompt": 3}\nnot json\n\xff\n["prompt"]\n'
        b'{"prompt": "\\ud800"}\n{"prompt": "", "id": 4}\n{"prompt": "caf\xc3\xa9"}'
    )
    output = tmp_path / "out.jsonl"
    assert run_batch(generator, CONFIG, batch_size, source, output, io.StringIO()) == 5
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [row["line"] for row in rows] == [1, 3, 4, 5, 6, 7, 8, 9]
    good = {row["prompt"]: row["completion"] for row in rows if "error" not in row}
    assert good == {prompt: generator.generate(prompt, CONFIG) for prompt in ("the cat", "", "café")}
    errors = {row["line"]: row["error"] for row in rows if "error" in row}
    assert list(errors) == [3, 4, 5, 6, 7]
    assert "prompt" in errors[3] and "JSON" in errors[4] and "UTF-8" in errors[5] and "surrogate" in errors[7]


def test_a_text_file_has_a_prompt_a_line(generator: TextGenerator, tmp_path: Path) -> None:
    source = tmp_path / "prompts.txt"
    source.write_text("the cat\n\n  indented\n", encoding="utf-8")
    stdout = io.StringIO()
    assert run_batch(generator, CONFIG, 16, source, None, stdout) == 0
    rows = [json.loads(line) for line in stdout.getvalue().splitlines()]
    assert [(row["line"], row["prompt"]) for row in rows] == [(1, "the cat"), (3, "  indented")]


def test_unusable_files_are_named(generator: TextGenerator, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "x.csv").write_text("a")
    for name, says in (
        ("missing.txt", "check --batch_file"),
        ("x.csv", ".jsonl"),
        ("empty.txt", "no prompt"),
    ):
        with pytest.raises(UserError, match=says):
            run_batch(generator, CONFIG, 16, tmp_path / name, tmp_path / "out.jsonl", io.StringIO())
    assert not (tmp_path / "out.jsonl").exists()


def test_a_failed_batch_leaves_no_half_output(
    generator: TextGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p.txt").write_text("a\n")

    def interrupted(*_: object, **__: object) -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(generator, "batch_generate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_batch(generator, CONFIG, 1, tmp_path / "p.txt", tmp_path / "out.jsonl", io.StringIO())
    assert [entry.name for entry in tmp_path.iterdir()] == ["p.txt"]
