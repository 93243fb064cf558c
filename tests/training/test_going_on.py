"""The commands that a run names to go on with it: typed as they stand, they do."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from training.config import TrainingConfig
from training.going_on import longer, to_continue
from training.state import RunState
from training.trainer import Trainer


def follow(command: Any, said: str, after: str, until: str = "\n") -> Any:
    """Type what a run said behind the words `after`."""
    words = shlex.split(said.partition(after)[2].partition(until)[0])
    assert words[0] == Path(sys.executable).name and Path(words[1]).name == "train.py"
    command.base = []
    done = command.call(*words[2:])
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("length", [["--max_steps", "3"], ["--max_steps=3", "--eval-interval", "2"]])
def test_a_finished_run_is_made_longer_by_what_it_says(command: Any, length: list[str]) -> None:
    """The length that was typed is replaced, and what begins a run afresh is left out."""
    done = command.call(*length, "--overwrite", "--out_dir", "my run")
    assert done.returncode == 0, done.stderr
    again = follow(command, done.stdout, "To train longer: ")
    assert [row["step"] for row in command.rows("my run")] == list(range(1, 7))
    assert again.stdout.count("--max_steps") == 1 and "--max_steps 12" in again.stdout
    assert again.stdout.count("--resume") == 1 and "--overwrite" not in again.stdout


def test_a_run_that_stopped_early_goes_on_by_what_it_says(command: Any) -> None:
    done = command.call("--early_stopping", "--patience", "1", "--min_delta", "1000", "--eval_interval", "1")
    assert len(command.rows()) == 2
    follow(command, done.stdout, "To train on: ", until=" (or")
    assert len(command.rows()) == 3
    other = shlex.split(done.stdout.partition("(or ")[2].partition(")")[0])
    assert command.call(*done.args[1:], "--resume", *other).returncode == 0
    assert len(command.rows()) == 12


def test_a_run_that_was_stopped_goes_on_by_what_it_says(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that began from another run's checkpoint: the newest is its own now."""
    assert command.call("--max_steps", "2", "--out_dir", "first").returncode == 0
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_interrupted", lambda self: self._state.step == 4)
        done = command.call("--max_steps", "6", "--resume_from", "first/ckpt.pth")
    assert [row["step"] for row in command.rows()] == [3, 4]
    follow(command, done.stderr, "continue with: ")
    assert [row["step"] for row in command.rows()] == [3, 4, 5, 6]


def test_what_this_process_cannot_know_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchrun's own options, and another program that starts a training."""
    monkeypatch.setattr("sys.argv", ["/here/train.py", "--ddp", "--overwrite", "--max_steps", "3"])
    monkeypatch.setattr("sys.orig_argv", ["python", "-u", *sys.argv])
    assert to_continue() == "python -u /here/train.py --ddp --max_steps 3 --resume"
    monkeypatch.setenv("RANK", "0")
    assert to_continue() == "the same torchrun command with --resume and without --overwrite"
    monkeypatch.setattr("sys.argv", ["/here/train.py", "--fsdp"])
    assert to_continue("epochs", "3") == "the same torchrun command with --resume --epochs 3"
    monkeypatch.delenv("RANK")
    monkeypatch.setattr("sys.argv", ["/here/my_program.py"])
    assert to_continue("epochs", "3") == "the same settings with --resume --epochs 3"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"time_budget": 30}, "time_budget 80s"),
        ({"max_tokens": "1k"}, "max_tokens 2000"),
        ({"max_steps": 3}, "max_steps 10"),
        ({"epochs": 1.5}, "epochs 3"),
    ],
)
def test_every_length_is_doubled(
    settings: dict[str, Any], expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On the command line; a stage's in the file, since flags hold for all stages."""
    monkeypatch.setattr("sys.argv", ["train.py", "--chain", "a,b"])
    monkeypatch.setattr("sys.orig_argv", ["python", *sys.argv])
    config, state = TrainingConfig(**settings), RunState(step=5, tokens=700, elapsed=40.0)
    said = "To train longer: "
    assert longer(tmp_path, config, state, chained=False).endswith(f"python train.py --chain a,b --resume --{expected}")
    in_file = f"{said}{expected} in this stage of the file, and python train.py --chain a,b --resume"
    assert longer(tmp_path, config, state, chained=True).endswith(in_file)
