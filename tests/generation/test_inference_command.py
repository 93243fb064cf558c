"""`inference.py` as people run it."""

from __future__ import annotations

import io
import json
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from generation.engine.native import building
from generation.terminal.commands import COMMANDS
from inference import GenerationConfig, TextGenerator, main

CPU = ["--device", "cpu", "--dtype", "float32"]


class Shown:
    """What a command printed."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(
    run_directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Shown]:
    """Runs the command with the model of `run_directory`, in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, stdin: bytes = b"") -> Shown:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        code = main([*arguments, "--model_path", str(run_directory), *CPU])
        printed = capsys.readouterr()
        return Shown(code, printed.out, printed.err)

    return call


def test_prompt_gives_the_api_s_text(run: Callable[..., Shown], run_directory: Path) -> None:
    generator = TextGenerator.from_path(run_directory, "cpu", "float32")
    expected = "the cat" + generator.generate("the cat", GenerationConfig(max_new_tokens=9, seed=4))
    options = ["--max_new_tokens", "9", "--seed", "4"]
    plain = run("--prompt", "the cat", *options)
    assert (plain.code, plain.out) == (0, expected + "\n")
    assert "9 tokens in" in plain.err and "tokens/s, weights and cache read at " in plain.err
    for stdin in (b"the cat", b"the cat\n", b"the cat\r\n"):
        assert run("--prompt", "-", *options, stdin=stdin).out == plain.out
    samples = run("--prompt", "the cat", "--num-samples", "3", *options).out
    texts = samples.removesuffix("\n").split("\n---\n")
    assert texts[0] == expected and len(set(texts)) == 3
    assert run("--prompt", "the cat", "--num-samples", "3", "--stream", *options).out == samples
    greedy = [run("--prompt", "the cat", "--greedy", "--max_new_tokens", "9", "--seed", seed).out for seed in "12"]
    assert greedy[0] == greedy[1]


def test_json(run: Callable[..., Shown], run_directory: Path) -> None:
    config = GenerationConfig(max_new_tokens=9, seed=4, logprobs=2, num_return_sequences=2)
    completions = TextGenerator.from_path(run_directory, "cpu", "float32").complete("床前", config)
    shown = run(
        "--prompt", "床前", "--json", "--max_new_tokens", "9", "--seed", "4", "--logprobs", "2", "--num_samples", "2"
    )
    told: dict[str, Any] = json.loads(shown.out)
    assert list(told) == ["prompt", "completions"] and "床前" in shown.out
    for row, completion in zip(told["completions"], completions, strict=True):
        assert (row["completion"], row["finish_reason"]) == (completion.text, completion.finish_reason)
        assert (row["prompt_tokens"], row["completion_tokens"]) == (completion.prompt_tokens, 9)
        logprobs = completion.logprobs or ()
        assert [(t["id"], t["token"]) for t in row["logprobs"]] == [(t.id, t.text) for t in logprobs]
        assert [t["logprob"] for t in row["logprobs"]] == pytest.approx([t.logprob for t in logprobs], abs=1e-4)
        assert all(len(t["top"]) == 2 for t in row["logprobs"])
    one = json.loads(run("--prompt", "the cat", "--json", "--greedy", "--max_new_tokens", "2").out)
    assert list(one) == ["prompt", "completion", "finish_reason", "prompt_tokens", "completion_tokens"]


def test_standard_output_has_the_result_alone(run: Callable[..., Shown], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said of the machine stands beside it; and without compiled kernels nothing asks for them."""
    asked = ["--prompt", "the cat", "--json", "--max_new_tokens", "3", "--seed", "1"]
    monkeypatch.setenv("CXX", "nothing-of-this-name")
    building.library.cache_clear()
    try:
        shown = run(*asked)
    finally:
        building.library.cache_clear()
    assert json.loads(shown.out)["prompt"] == "the cat" and "no C++ compiler here" in shown.err
    monkeypatch.setattr(building, "library", None)  # would fail if called
    plain = run(*asked, "--compile", "false")
    assert json.loads(plain.out)["prompt"] == "the cat" and "read at" in plain.err


def test_a_preset_and_a_stop_string(run: Callable[..., Shown]) -> None:
    """What the flags mean is tested where they are read; here that they arrive."""
    options = ["--prompt", "the cat", "--json", "--max_new_tokens", "40", "--seed", "4"]
    rows = [json.loads(run(*options, *more).out) for more in ([], ["--preset", "creative"], ["--stop", "a", "e"])]
    assert rows[0]["completion"] != rows[1]["completion"]
    whole, cut = rows[0]["completion"], rows[2]["completion"]
    assert whole.startswith(cut) and whole[len(cut)] in "ae" and rows[2]["finish_reason"] == "stop"


def test_top_k_0_draws_from_all_tokens(run: Callable[..., Shown], run_directory: Path) -> None:
    config = GenerationConfig(max_new_tokens=30, seed=4, top_k=0, top_p=1.0, temperature=3.0)
    expected = TextGenerator.from_path(run_directory, "cpu", "float32").generate("the cat", config)
    options = ["--max_new_tokens", "30", "--seed", "4", "--top_p", "1", "--temperature", "3"]
    shown = run("--prompt", "the cat", *options, "--top_k", "0")
    assert (shown.code, shown.out) == (0, f"the cat{expected}\n")
    assert run("--prompt", "the cat", *options, "--top_k", "2").out != shown.out
    assert run("--interactive", "--top_k", "0", stdin=b"q\n").code == 0


def test_batch_file(run: Callable[..., Shown], tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "the cat"}\nbad\n')
    options = ["--batch_file", "p.jsonl", "--max_new_tokens", "5", "--seed", "1"]
    shown = run(*options, "--output", "o.jsonl")
    assert shown.code == 1 and "unusable lines: 1" in shown.err and shown.out == ""
    written = (tmp_path / "o.jsonl").read_text()
    assert [list(json.loads(line)) for line in written.splitlines()] == [
        ["line", "prompt", "completion", "finish_reason", "prompt_tokens", "completion_tokens"],
        ["line", "error"],
    ]
    assert run(*options).out == written
    again = run(*options, "--output", "o.jsonl")
    assert again.code == 1 and "all 2 rows are there already" in again.err
    with pytest.raises(UserError, match=r"seed \(was 1, is 2\)"):
        run(*options[:-1], "2", "--output", "o.jsonl")
    assert run(*options[:-1], "2", "--output", "o.jsonl", "--overwrite").code == 1
    assert (tmp_path / "o.jsonl").read_text() != written


def test_the_newest_model_below_out_talks(
    run_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_directory.rename(tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO("the cat\nq\n"))
    assert main(["--interactive", "--max_new_tokens", "5"]) == 0
    shown = capsys.readouterr()
    assert "not trained to chat" in shown.out and "> the cat" in shown.out and "5 tokens in" in shown.err


def test_the_commands_of_the_manual_run(run: Callable[..., Shown], repo_root: Path, tmp_path: Path) -> None:
    page = (repo_root / "docs" / "inference.md").read_text(encoding="utf-8")
    commands = [
        shlex.split(found) for found in re.findall(r"^\|[^|]*(?:\\\|)? ?`?python inference.py (.*?)` \|", page, re.M)
    ]
    assert len(commands) >= 11
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "the cat"}\n')
    for command in commands:
        if command != ["--serve"]:  # would not end
            assert run(*command, "--max_new_tokens", "3", stdin=b"the cat\n").code == 0, command
    assert json.loads((tmp_path / "out.jsonl").read_text())["prompt"] == "the cat"
    assert not [name for name in COMMANDS if f"/{name}" not in page and name != "clear"]


def test_without_a_mode_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert "--interactive" in shown and "--batch_file" in shown and "--serve" in shown


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--prompt", "x"], "no trained model"),
        (["--prompt", "x", "--interactive"], "exclude each other"),
        (["--prompt", "x", "--output", "o.jsonl"], "--output goes with --batch_file"),
        (["--prompt", "x", "--overwrite"], "--overwrite goes with --batch_file"),
        (["--batch_file", "x", "--overwrite"], "--overwrite is about the file of --output"),
        (["--batch_file", "x", "--json"], "--json goes with .*writes JSON lines anyway"),
        (["--batch_file", "x", "--stream"], "--stream goes with --prompt and --interactive"),
        (["--prompt", "x", "--json", "--stream"], "leave out --stream"),
        (["--prompt", "x", "--logprobs", "2"], "shown with --json"),
        (["--interactive", "--num_samples", "2"], "--num_samples goes with --prompt and --batch_file"),
        (["--prompt", "x", "--port", "80"], "--port goes with --serve"),
        (["--serve", "--prompt", "x"], "exclude each other"),
        (["--prompt", "x", "--temperature", "-1"], "temperature"),
        (["--promt", "x"], "--prompt"),
    ],
)
def test_mistakes_are_named(arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=says):
        main(arguments)


def test_what_is_not_utf8_on_standard_input_is_named(run: Callable[..., Shown]) -> None:
    with pytest.raises(UserError, match="not UTF-8 text at byte 4"):
        run("--prompt", "-", stdin=b"the\xff")


def test_a_mistake_is_one_message_and_exit_2(repo_root: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(repo_root / "inference.py"), "--prompt", "x", "--model_path", "missing"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith("error: missing: no such model") and "Traceback" not in result.stderr


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_batch_killed_twenty_times_gives_the_file_of_an_uninterrupted_run(
    repo_root: Path, run_directory: Path, tmp_path: Path
) -> None:
    """Each of the 20 goes on after the one before; the last one runs to the end."""
    words = ["the", "cat", "sat", "on", "the", "mat", "and", "the", "dog", "saw", "床前明月光", "🙂"]
    chance = random.Random(5)
    prompts = [" ".join(chance.choices(words, k=chance.randrange(1, 20))) for _ in range(600)]
    (tmp_path / "p.txt").write_text("\n".join(prompts), encoding="utf-8")
    command = [sys.executable, str(repo_root / "inference.py"), "--batch_file", "p.txt", "--seed", "3", *CPU]
    command += ["--model_path", str(run_directory), "--max_new_tokens", "40", "--output"]
    whole = subprocess.run([*command, "whole.jsonl"], cwd=tmp_path, check=True, capture_output=True, text=True)
    writing = float(whole.stderr.split(" tokens in ")[1].split(" s:")[0])
    expected = (tmp_path / "whole.jsonl").read_bytes()
    partial, met = tmp_path / "killed.jsonl.partial", 0
    for number in range(20):
        before = partial.stat().st_size if partial.exists() else 0
        process = subprocess.Popen(
            [*command, "killed.jsonl"], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if number % 5 == 4:  # while it loads the model and looks at what is there
            time.sleep(chance.uniform(0, 5))
        else:  # while it writes rows
            while process.poll() is None and (partial.stat().st_size if partial.exists() else 0) <= before:
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.1) * writing)
        process.send_signal(signal.SIGKILL)
        process.wait()
        met += partial.exists() and partial.stat().st_size > before
        if (tmp_path / "killed.jsonl").exists():  # it was done before: begin again
            assert (tmp_path / "killed.jsonl").read_bytes() == expected
            for path in tmp_path.glob("killed*"):
                path.unlink()
    assert met >= 10, met
    subprocess.run([*command, "killed.jsonl"], cwd=tmp_path, check=True, capture_output=True, timeout=600)
    assert (tmp_path / "killed.jsonl").read_bytes() == expected
