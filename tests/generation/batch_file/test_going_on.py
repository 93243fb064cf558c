"""An output that was broken off at any byte becomes the one of a run that was not."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foundation import failpoints
from foundation.errors import UserError
from foundation.interrupts import Terminated
from generation.batch_file.run import run_batch
from generation.config import GenerationConfig
from generation.text import TextGenerator
from model.decoder import Decoder
from tokenization.tokenizer import Tokenizer

CONFIG = GenerationConfig(seed=2, max_new_tokens=7)
PROMPTS = ["the cat", "床前", "", "on the mat, and", "🙂", "举头望明月，低头思", "a", "dog"]
Make = Callable[[], TextGenerator]


@pytest.fixture(scope="module")
def make(make_model: Callable[..., Decoder], tokenizer: Tokenizer) -> Make:
    """Makes the same generator, with nothing read yet."""
    return lambda: TextGenerator(make_model(), tokenizer, mateconv={"chat_trained": False}, slots=3)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("batch") / "prompts.jsonl"
    lines = [json.dumps({"prompt": prompt}) for prompt in PROMPTS]
    path.write_text("\n".join([*lines[:3], "not json", *lines[3:], ""]))
    return path


@pytest.fixture(scope="module")
def whole(make: Make, source: Path) -> bytes:
    """The output of an uninterrupted run."""
    output = source.with_name("whole.jsonl")
    assert run_batch(make(), CONFIG, source, output) == 1
    assert sorted(path.name for path in source.parent.glob("*whole*")) == ["whole.jsonl", "whole.jsonl.made-from.json"]
    return output.read_bytes()


@pytest.fixture
def broken_off(source: Path, whole: bytes, tmp_path: Path) -> Callable[[int], Path]:
    """`broken_off(end)`: what a run that was killed leaves when `end` bytes were written. Rows are only appended, so a
    kill at any moment leaves such a beginning."""

    def leave(end: int) -> Path:
        output = tmp_path / "o.jsonl"
        output.with_name("o.jsonl.partial").write_bytes(whole[:end])
        shutil.copy(source.with_name("whole.jsonl.made-from.json"), tmp_path / "o.jsonl.made-from.json")
        return output

    return leave


def test_every_beginning_is_gone_on_with(
    make: Make, source: Path, whole: bytes, broken_off: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = make()
    asked: list[str] = []
    requests = generator.requests

    def counted(prompt: Any, *rest: Any, **options: Any) -> Any:
        asked.append(prompt)
        return requests(prompt, *rest, **options)

    monkeypatch.setattr(generator, "requests", counted)
    ends = [0, *(place + 1 for place, byte in enumerate(whole) if byte == 10)]
    for end in sorted({*ends[::2], *(end - 1 for end in ends[1::3]), *range(1, len(whole), 331)}):
        output = broken_off(end)
        asked.clear()
        assert run_batch(generator, CONFIG, source, output) == 1
        assert output.read_bytes() == whole
        assert not output.with_name("o.jsonl.partial").exists()
        there = whole[:end].count(b"\n")
        lines = [*PROMPTS[:3], None, *PROMPTS[3:]][there:]
        assert asked[1:] == [prompt for prompt in lines if prompt is not None]  # the first is the fingerprint's
        output.unlink()


@pytest.mark.parametrize("spoilt", [b"\0" * 9, b'{"line": 1}\n', b"[]\n", b'{"line": 9}\n{"line": 4}\n'])
def test_what_is_no_row_is_made_again(
    make: Make, source: Path, whole: bytes, broken_off: Callable[[int], Path], spoilt: bytes
) -> None:
    output = broken_off(whole.index(b"\n") + 1)
    with output.with_name("o.jsonl.partial").open("ab") as partial:
        partial.write(spoilt)
    assert run_batch(make(), CONFIG, source, output) == 1
    assert output.read_bytes() == whole


@pytest.mark.parametrize("point", ["batch.start:1", "batch.row:1", "batch.row:4", "batch.row:9", "batch.publish:1"])
def test_errors_of_the_disk_lose_no_row(
    make: Make, source: Path, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    output = tmp_path / "o.jsonl"
    monkeypatch.setattr(failpoints, "_hits", type(failpoints._hits)())
    monkeypatch.setenv(failpoints.ENVIRONMENT_VARIABLE, f"{point}:raise=ENOSPC")
    with pytest.raises(OSError, match="space") as raised:
        run_batch(make(), CONFIG, source, output)
    assert raised.value.filename == str(tmp_path / "o.jsonl.partial") and not output.exists()
    monkeypatch.delenv(failpoints.ENVIRONMENT_VARIABLE)
    generator = make()
    assert run_batch(generator, CONFIG, source, output) == 1
    assert output.read_bytes() == whole
    if point.startswith("batch.publish"):
        assert generator.engine.usage.tokens == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_keeps_the_rows_and_says_how_to_go_on(
    make: Make, source: Path, whole: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    output, generator = tmp_path / "o.jsonl", make()
    partial = output.with_name("o.jsonl.partial")
    complete_each = generator.complete_each

    def slowly(*arguments: Any, **options: Any) -> Any:
        for result in complete_each(*arguments, **options):
            yield result
            if partial.stat().st_size > 400:
                os.kill(os.getpid(), number)

    generator.complete_each = slowly  # type: ignore[method-assign]
    with pytest.raises((Terminated, KeyboardInterrupt)):
        run_batch(generator, CONFIG, source, output)
    shown = capsys.readouterr().err
    assert f"finished rows are kept in {partial}" in shown
    rows = partial.read_bytes().count(b"\n")
    assert 0 < rows < 9 and generator.engine.idle
    assert run_batch(make(), CONFIG, source, output) == 1
    assert output.read_bytes() == whole
    assert f"going on after {rows} of 9 rows" in capsys.readouterr().err


def test_without_a_seed_a_run_goes_on_with_the_drawn_one(make: Make, source: Path, tmp_path: Path) -> None:
    config, output = CONFIG.replace(seed=None), tmp_path / "o.jsonl"
    run_batch(make(), config, source, output)
    whole = output.read_bytes()
    (tmp_path / "o.jsonl.partial").write_bytes(whole[:333])
    output.unlink()
    run_batch(make(), config, source, output)
    assert output.read_bytes() == whole
    run_batch(make(), config, source, output, overwrite=True)
    assert output.read_bytes() != whole


def test_an_output_that_is_there_is_left_alone(
    make: Make, source: Path, whole: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, generator = tmp_path / "o.jsonl", make()
    assert run_batch(generator, CONFIG, source, output) == 1
    before, tokens = output.stat(), generator.engine.usage.tokens
    assert run_batch(generator, CONFIG, source, output) == 1
    assert "all 9 rows are there already" in capsys.readouterr().err
    assert (output.stat().st_ino, generator.engine.usage.tokens) == (before.st_ino, tokens)
    output.write_bytes(whole[: whole.index(b"\n") + 1])
    with pytest.raises(UserError, match="rows are missing"):
        run_batch(generator, CONFIG, source, output)


@pytest.mark.parametrize("end", [100, None])
def test_rows_of_something_else_are_refused_with_the_difference(
    make: Make,
    make_model: Callable[..., Decoder],
    tokenizer: Tokenizer,
    source: Path,
    whole: bytes,
    broken_off: Callable[[int], Path],
    tmp_path: Path,
    end: int | None,
) -> None:
    output = broken_off(len(whole) if end is None else end)
    held = output.with_name("o.jsonl.partial")
    if end is None:
        held = held.rename(output)
    before = held.read_bytes()
    other = tmp_path / "p.jsonl"
    other.write_bytes(source.read_bytes() + b"\n")
    another = TextGenerator(make_model(seed=1), tokenizer, mateconv={"chat_trained": False})
    rounded = TextGenerator(make_model(), tokenizer, mateconv={"chat_trained": False}, quantization="int8")
    for generator, config, file, says in (
        (make(), CONFIG, other, r"something else: the batch file \(its fingerprint"),
        (another, CONFIG, source, r"the model \(its fingerprint was [0-9a-f]+, is [0-9a-f]+\)"),
        (make(), CONFIG.replace(top_k=0, seed=3), source, r"top_k \(was 50, is 0\), seed \(was 2, is 3\)"),
        (rounded, CONFIG, source, r"quantization \(was none, is int8\)"),
        (make(), CONFIG.replace(stop=("x",)), source, r"stop \(was \[\], is \['x'\]\)"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=says):
            run_batch(generator, config, file, output)
        assert held.read_bytes() == before
    same_text = CONFIG.model_copy(update={"use_cache": False, "preset": "chat"})  # the values as they were
    assert run_batch(make(), same_text, source, output) == 1
    assert output.read_bytes() == whole
    run_batch(make(), CONFIG.replace(max_new_tokens=2), source, output, overwrite=True)
    assert output.read_bytes() != whole


def test_files_that_are_not_ours_are_not_overwritten(make: Make, source: Path, tmp_path: Path) -> None:
    output = tmp_path / "notes.jsonl"
    output.write_text("mine\n")
    with pytest.raises(UserError, match="nothing says what they were made from"):
        run_batch(make(), CONFIG, source, output)
    sidecar = output.with_name("notes.jsonl.made-from.json")
    for content in ("", "[]", "{}", '{"version": 1, "options": 3}'):
        sidecar.write_text(content)
        with pytest.raises(UserError, match="nothing says"):
            run_batch(make(), CONFIG, source, output)
    assert output.read_text() == "mine\n"
    before = source.read_bytes()
    with pytest.raises(UserError, match="is the file that is read"):
        run_batch(make(), CONFIG, source, source, overwrite=True)
    assert source.read_bytes() == before
    os.mkfifo(tmp_path / "pipe")
    for other in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(UserError, match="is a directory, a device or a pipe"):
            run_batch(make(), CONFIG, source, other, overwrite=True)


def test_rows_go_where_a_link_leads(make: Make, source: Path, whole: bytes, tmp_path: Path) -> None:
    link = tmp_path / "link.jsonl"
    link.symlink_to("o.jsonl")
    run_batch(make(), CONFIG, source, link)
    assert link.is_symlink() and (tmp_path / "o.jsonl").read_bytes() == whole


def test_two_runs_do_not_write_one_file(make: Make, source: Path, tmp_path: Path) -> None:
    output, generator = tmp_path / "o.jsonl", make()
    complete_each, tried = generator.complete_each, []

    def second(*arguments: Any, **options: Any) -> Any:
        with pytest.raises(UserError, match="in use by process"):
            run_batch(make(), CONFIG, source, output, overwrite=True)
        tried.append(1)
        return complete_each(*arguments, **options)

    generator.complete_each = second  # type: ignore[method-assign]
    assert run_batch(generator, CONFIG, source, output) == 1 and tried == [1]
