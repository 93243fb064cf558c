"""`inference.py` as people run it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from foundation.errors import UserError
from inference import GenerationConfig, TextGenerator, main


@pytest.fixture
def inference(repo_root: Path, tmp_path: Path) -> Run:
    return Run(repo_root / "inference.py", tmp_path)


class Run:
    def __init__(self, script: Path, cwd: Path) -> None:
        self.script, self.cwd = script, cwd

    def __call__(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(self.script), *arguments]
        return subprocess.run(
            command, cwd=self.cwd, input=stdin, capture_output=True, text=True, encoding="utf-8", timeout=120
        )


def test_prompt_gives_the_api_s_text(inference: Run, run_directory: Path) -> None:
    options = ["--model_path", str(run_directory), "--max_new_tokens", "9", "--device", "cpu", "--dtype", "float32"]
    expected = "the cat" + TextGenerator.from_path(run_directory, "cpu", "float32").generate(
        "the cat", GenerationConfig(max_new_tokens=9, seed=4)
    )
    plain = inference("--prompt", "the cat", "--seed", "4", *options)
    assert (plain.returncode, plain.stdout) == (0, expected + "\n")
    assert "tokens/s" in plain.stderr
    samples = inference("--prompt", "the cat", "--seed", "4", "--num-samples", "3", "--stream", *options).stdout
    texts = samples.removesuffix("\n").split("\n---\n")
    assert texts[0] == expected and len(set(texts)) == 3
    greedy = [inference("--prompt", "the cat", "--greedy", "--seed", seed, *options).stdout for seed in "12"]
    assert greedy[0] == greedy[1]


def test_the_newest_model_below_out_talks(inference: Run, run_directory: Path, tmp_path: Path) -> None:
    run_directory.rename(tmp_path / "out")
    result = inference("--interactive", "--max_new_tokens", "5", stdin="the cat\nq\n")
    assert result.returncode == 0, result.stderr
    assert "not trained to chat" in result.stdout and "> the cat" in result.stdout


def test_batch_file(inference: Run, run_directory: Path, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "the cat"}\nbad\n')
    options = ["--model_path", str(run_directory), "--batch_file", "p.jsonl", "--max_new_tokens", "5"]
    result = inference(*options, "--output", "o.jsonl")
    assert result.returncode == 1 and "unusable lines: 1" in result.stderr and result.stdout == ""
    assert [list(json.loads(line)) for line in (tmp_path / "o.jsonl").read_text().splitlines()] == [
        ["line", "prompt", "completion"],
        ["line", "error"],
    ]


def test_without_a_mode_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert "--interactive" in shown and "--batch_file" in shown


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--prompt", "x"], "no trained model"),
        (["--prompt", "x", "--interactive"], "exclude each other"),
        (["--prompt", "x", "--output", "o.jsonl"], "--output goes with --batch_file"),
        (["--prompt", "x", "--temperature", "-1"], "temperature"),
        (["--promt", "x"], "--prompt"),
    ],
)
def test_mistakes_are_named(arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=says):
        main(arguments)


def test_a_mistake_is_one_message_and_exit_2(inference: Run) -> None:
    result = inference("--prompt", "x", "--model_path", "missing")
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith("error: missing: no such model") and "Traceback" not in result.stderr
