"""Runs measured in tokens or in time: they end where they should, and their rates can be computed again."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from training.config import TrainingConfig
from training.optimization import stopwatch
from training.optimization.schedule import learning_rate
from training.saving import checkpoint
from training.step import Stepper, StepResult

SCHEDULE = {"learning_rate": 0.01, "warmup_steps": 3}  # what the tests' command line says


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step takes a second, and nothing else any time."""
    steps, run = [0], Stepper.run

    def counted(*args: Any) -> StepResult | None:
        steps[0] += 1
        return run(*args)

    monkeypatch.setattr(Stepper, "run", counted)
    monkeypatch.setattr(stopwatch, "monotonic", lambda: float(steps[0]))


def test_a_run_of_tokens_is_the_run_of_as_many_steps(command: Any) -> None:
    """51 tokens a step: 600 tokens take 12 steps; with more tokens it goes on."""
    assert command.call("--out_dir", "steps").returncode == 0
    limit = ("--max_steps", "null", "--max_tokens")
    done = command.call(*limit, "600")
    assert done.returncode == 0, done.stderr
    assert command.rows() == command.rows("steps")
    assert "--max_tokens 1224" in done.stdout + done.stderr
    again = command.call(*limit, "600", "--resume")
    assert "finished" in again.stdout and len(command.rows()) == 12
    assert command.call(*limit, "0.7k", "--resume").returncode == 0
    assert command.rows()[-1]["tokens"] == 714


def test_a_run_of_tokens_in_padded_rows_knows_about_its_steps(command: Any, make_dataset: Any) -> None:
    """Documents of ten tokens stand alone in rows of seventeen: a step of three rows has 27 to 30, never 51."""
    documents = [np.append(np.arange(7, 16) + number, 0) for number in range(60)]
    data = ("--train_data_path", str(make_dataset("short", documents, documents[:3])), "--packing", "best_fit")
    done = command.call(*data, "--max_steps", "null", "--max_tokens", "900")
    assert done.returncode == 0, done.stderr
    steps = len(command.rows())
    [told] = re.findall(r"^(\d+) steps to do, (\d+) tokens", done.stdout, re.MULTILINE)
    assert abs(int(told[0]) - steps) <= 1 and abs(int(told[1]) - 900) <= 51
    assert steps > 900 / 51 + 5 and f"steps 1 to about {told[0]} of" in done.stdout
    started = json.loads((command.directory / "out" / "history.jsonl").read_text().splitlines()[0])
    assert (started["total_steps"], started["total_tokens"]) == (None, 900)
    log = (command.directory / "out" / "train.log").read_text()
    assert f"step {steps} ({command.rows()[-1]['tokens']}/900 tokens)" in log


def test_a_time_budget_ends_the_run_and_a_resume_gets_what_is_left(command: Any, clock: None) -> None:
    limit = ("--max_steps", "null", "--eval_interval", "100", "--time_budget")
    done = command.call(*limit, "5s")
    assert done.returncode == 0, done.stderr
    rows = command.rows()
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5] and "val_loss" in rows[-1]
    assert "--time_budget 10s" in done.stdout + done.stderr
    assert checkpoint.load(command.directory / "out" / "ckpt.pth")["state"]["elapsed"] == 5.0
    assert "finished" in command.call(*limit, "5s", "--resume").stdout
    assert command.call(*limit, "0.2m", "--resume").returncode == 0
    rows = command.rows()
    assert [row["step"] for row in rows] == list(range(1, 13)), "seven seconds were left of twelve"
    assert checkpoint.load(command.directory / "out" / "ckpt.pth")["state"]["elapsed"] == 12.0
    assert (command.directory / "out" / "final" / "model.safetensors").is_file()


def test_the_rows_of_a_time_budget_hold_what_the_rates_came_from(command: Any, clock: None) -> None:
    limit = ("--max_steps", "null", "--time_budget", "10")
    assert command.call(*limit, "--lr_scheduler", "linear", "--min_lr", "0.001").returncode == 0
    settings = TrainingConfig(**SCHEDULE, lr_scheduler="linear", min_learning_rate=0.001)
    rows = command.rows()
    warmup = SCHEDULE["warmup_steps"]
    left = [max(0.0, step - warmup) / (10 - warmup) for step in range(10)]
    assert [row["progress"] for row in rows] == pytest.approx(left), "the warmup's steps took a second each"
    warmed = [min(1.0, row["step"] / SCHEDULE["warmup_steps"]) for row in rows]
    expected = [learning_rate(share, row["progress"], settings) for share, row in zip(warmed, rows, strict=True)]
    assert [row["lr"] for row in rows] == expected


@pytest.mark.parametrize(("warmup", "warned"), [("1000k", True), ("0", False)])
def test_a_warmup_that_takes_most_of_a_time_budget_is_told(
    command: Any, clock: None, warmup: str, warned: bool
) -> None:
    limit = ("--max_steps", "null", "--time_budget", "3", "--warmup_steps", warmup)
    done = command.call(*limit, "--preflight", "true", "--dry_run")
    assert done.returncode == 0, done.stderr
    assert ("--warmup_ratio instead" in done.stderr) == warned


def test_two_lengths_are_one_too_many(command: Any) -> None:
    done = command.call("--max_tokens", "1M", "--time_budget", "1h")
    assert done.returncode == 2
    assert "max_steps and max_tokens and time_budget" in done.stderr and "--max_tokens null" in done.stderr
    assert TrainingConfig.model_validate({"time_budget": "1.5h"}).time_budget == 5400
