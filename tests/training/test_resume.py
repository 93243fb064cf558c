"""The real command, killed, stopped and resumed: the same losses and weights, bit for bit."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.quick import quick
from training.saving import checkpoint

SIGKILLED = -signal.SIGKILL


def assert_same_run(command: Any, expected: Path, actual: Path) -> None:
    """Metrics, models, and all that the newest checkpoints of two runs hold are equal, bit for bit."""
    assert command.rows(str(actual)) == command.rows(str(expected))
    for name in ("final", "best"):
        assert (actual / name / "model.safetensors").read_bytes() == (
            expected / name / "model.safetensors"
        ).read_bytes()
        assert (actual / name / "config.json").read_bytes() == (expected / name / "config.json").read_bytes()
    ours, theirs = checkpoint.load(actual / "ckpt.pth"), checkpoint.load(expected / "ckpt.pth")
    for saved in (ours, theirs):
        saved["state"].pop("elapsed")  # of all that is in a checkpoint, only this depends on the clock
        saved["config"]["training"].pop("out_dir")
    assert_equal(ours, theirs, "checkpoint")


def assert_equal(ours: Any, theirs: Any, where: str) -> None:
    """Nested plain values and tensors are equal, bit for bit."""
    assert type(ours) is type(theirs), where
    if isinstance(ours, torch.Tensor):
        assert ours.dtype == theirs.dtype and torch.equal(ours, theirs), where
    elif isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), where
        for key in ours:
            assert_equal(ours[key], theirs[key], f"{where}.{key}")
    else:
        assert ours == theirs, where


def die_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """The next run in this process ends by an error in its step number `step`."""
    monkeypatch.setenv("MATECONV_FAILPOINT", f"training.step:{step}:raise=EIO")
    monkeypatch.setattr("foundation.failpoints._hits", Counter())


def assert_goes_on(
    command: Any, monkeypatch: pytest.MonkeyPatch, targets: Iterable[int], arguments: Sequence[str]
) -> list[int]:
    """A run that dies at each of `targets` and goes on is the run that nothing stopped, chance included.

    Returns the steps that it went on from.
    """
    assert command.call("--out_dir", "whole", *arguments).returncode == 0
    generator = torch.get_rng_state()
    saved = []
    for target in targets:
        die_at(monkeypatch, target - newest_step(command.directory / "cut"))
        broken = command.call("--out_dir", "cut", "--resume", *arguments)
        assert broken.returncode == 1, broken.stderr
        saved.append(newest_step(command.directory / "cut"))
    monkeypatch.delenv("MATECONV_FAILPOINT")
    torch.manual_seed(99)
    done = command.call("--out_dir", "cut", "--resume", *arguments)
    assert done.returncode == 0, done.stderr
    assert_same_run(command, command.directory / "whole", command.directory / "cut")
    assert torch.equal(torch.get_rng_state(), generator)
    return saved


def assert_survives_kills(command: Any, targets: Iterable[int], arguments: Sequence[str]) -> None:
    """A run that SIGKILL ends at each of `targets`, after the weights moved, is the run that nothing stopped."""
    assert command.run("--out_dir", "whole", *arguments).returncode == 0
    for target in targets:
        point = f"training.step:{target - newest_step(command.directory / 'cut')}"
        killed = command.run("--out_dir", "cut", "--resume", *arguments, MATECONV_FAILPOINT=point)
        assert killed.returncode == SIGKILLED, killed.stderr
    done = command.run("--out_dir", "cut", "--resume", *arguments)
    assert done.returncode == 0, done.stderr
    assert_same_run(command, command.directory / "whole", command.directory / "cut")


def newest_step(run: Path) -> int:
    """The step of a run's newest checkpoint; 0 before its first."""
    newest = run / "ckpt.pth"
    return int(checkpoint.load(newest)["step"]) if newest.exists() else 0


def wait_for_rows(path: Path, count: int, process: Any) -> None:
    """Wait until metrics.jsonl has `count` lines."""
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.002)


EVERYTHING = (
    *("--accumulation_steps", "2", "--use_ema", "true", "--dropout", "0.1", "--eval_interval", "3"),
    *("--early_stopping", "true", "--min_delta", "10"),  # no validation is an improvement after the first
)
POINTS = ("checkpoint.write:700", "checkpoint.written:2", "checkpoint.renamed:2", "checkpoint.published:2")
SCHEDULERS = ("cosine", "linear", "polynomial", "wsd", "constant")


@pytest.mark.parametrize("scheduler", quick(SCHEDULERS, ["cosine", "wsd"]))
def test_broken_off_at_random_steps_and_resumed_it_is_the_same_run(
    command: Any, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice, by an error after the weights moved. The run ends early at step 12, its third stale validation."""
    arguments = (*EVERYTHING, "--max_steps", "20", "--patience", "3", "--lr_scheduler", scheduler)
    targets = sorted(random.Random(scheduler).sample(range(2, 12), 2))
    assert_goes_on(command, monkeypatch, targets, arguments)
    assert checkpoint.load(command.directory / "cut" / "ckpt.pth")["step"] == 12
    assert command.call("--out_dir", "cut", "--resume", *arguments).returncode == 0
    assert newest_step(command.directory / "cut") == 12, "a run that stopped early stays stopped"


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_killed_at_random_steps_and_resumed_it_is_the_same_run(command: Any, scheduler: str) -> None:
    """Four SIGKILLs for each scheduler, twenty together; the run ends early at step 30."""
    arguments = (*EVERYTHING, "--max_steps", "50", "--patience", "9", "--lr_scheduler", scheduler)
    assert_survives_kills(command, sorted(random.Random(scheduler).sample(range(2, 30), 4)), arguments)
    assert newest_step(command.directory / "cut") == 30


def test_killed_at_any_moment_and_resumed_it_is_the_same_run(command: Any) -> None:
    """SIGKILL to the whole process group, wherever the run happens to be after its ninth row."""
    longer = ("--max_steps", "150", "--eval_interval", "50")
    assert command.call("--out_dir", "whole", *longer).returncode == 0
    process = command.start("--out_dir", "cut", *longer)
    wait_for_rows(command.directory / "cut" / "metrics.jsonl", 9, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == SIGKILLED and newest_step(command.directory / "cut") < 150
    assert command.call("--out_dir", "cut", "--resume", *longer).returncode == 0
    assert_same_run(command, command.directory / "whole", command.directory / "cut")


@pytest.mark.parametrize("point", quick(POINTS, ["checkpoint.write:700"]))
def test_killed_inside_a_checkpoint_and_resumed_it_is_the_same_run(command: Any, point: str) -> None:
    assert command.call("--out_dir", "whole").returncode == 0
    killed = command.run("--out_dir", "cut", MATECONV_FAILPOINT=point)
    assert killed.returncode == SIGKILLED
    done = command.call("--out_dir", "cut", "--resume_from", "cut/ckpt.pth")
    assert done.returncode == 0, done.stderr
    assert_same_run(command, command.directory / "whole", command.directory / "cut")
    assert not [path for path in (command.directory / "cut").rglob(".tmp-*")]


EXIT_CODES = {signal.SIGTERM: 75, signal.SIGINT: 130}


@pytest.mark.parametrize("number", quick(EXIT_CODES, [signal.SIGTERM]))
def test_a_signal_saves_and_the_exit_code_says_resumable(command: Any, number: signal.Signals) -> None:
    longer = ("--max_steps", "3000", "--save_interval", "100k", "--eval_interval", "100k")
    process = command.start(*longer)
    wait_for_rows(command.directory / "out" / "metrics.jsonl", 7, process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == EXIT_CODES[number], output
    assert "--resume" in output
    step = checkpoint.load(command.directory / "out" / "ckpt.pth")["step"]
    assert 7 <= step < 3000
    shorter = ("--max_steps", str(step + 3))
    assert command.call("--resume", *shorter).returncode == 0
    assert [row["step"] for row in command.rows()] == list(range(1, step + 4))


def test_a_signal_during_validation_loses_nothing(command: Any, make_dataset: Any) -> None:
    """Stopped inside the validation at step 5, the resumed run validates step 5 again and is the same run."""
    import numpy as np

    generator = np.random.default_rng(4)
    documents = [np.append(generator.integers(7, 280, size=90), 0) for _ in range(150)]
    large = str(make_dataset("large", documents[:100], documents))
    arguments = ("--train_data_path", large, "--max_steps", "7")
    assert command.call("--out_dir", "whole", *arguments).returncode == 0
    process = command.start("--out_dir", "cut", *arguments)
    wait_for_rows(command.directory / "cut" / "metrics.jsonl", 4, process)
    time.sleep(0.3)  # step 5 takes milliseconds, its validation of 13,650 tokens seconds
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 75, output
    saved = checkpoint.load(command.directory / "cut" / "ckpt.pth")
    assert saved["step"] == 5 and saved["state"]["pending_row"]["step"] == 5
    assert command.call("--out_dir", "cut", "--resume", *arguments).returncode == 0
    assert_same_run(command, command.directory / "whole", command.directory / "cut")


def test_a_finished_run_says_so_and_how_to_train_longer(command: Any) -> None:
    assert command.call().returncode == 0
    before = (command.directory / "out" / "metrics.jsonl").read_bytes()
    again = command.call("--resume_from", "out/ckpt.pth")
    assert again.returncode == 0
    assert "finished" in again.stdout and "--max_steps 24" in again.stdout
    assert (command.directory / "out" / "metrics.jsonl").read_bytes() == before
    assert command.call("--resume", "--max_steps", "14").returncode == 0
    assert [row["step"] for row in command.rows()] == list(range(1, 15))


def test_metrics_are_cut_back_to_the_resumed_step(command: Any) -> None:
    assert command.call().returncode == 0
    path = command.directory / "out" / "metrics.jsonl"
    with path.open("a") as file:
        file.write('{"step": 13, "tokens": 1, "tokens_per_second": 1}\n{"step": 14, "tok')
    done = command.call("--resume_from", "out/checkpoints/step_000004.pth", "--max_steps", "6")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3, 4, 5, 6]
    assert checkpoint.saved_steps(command.directory / "out") == [4, 6]


def test_a_damaged_newest_checkpoint_is_skipped_by_the_command(command: Any) -> None:
    assert command.call("--out_dir", "whole").returncode == 0
    assert command.call("--out_dir", "cut").returncode == 0
    newest = command.directory / "cut" / "ckpt.pth"
    newest.write_bytes(newest.read_bytes()[:-4000])  # the hard link under checkpoints/ with it
    done = command.call("--out_dir", "cut", "--resume")
    assert done.returncode == 0, done.stderr
    assert "ckpt.pth" in done.stderr and "step_000008.pth" in done.stderr
    assert_same_run(command, command.directory / "whole", command.directory / "cut")


def test_a_resume_that_would_be_another_run_is_refused_with_the_difference(command: Any) -> None:
    assert command.call().returncode == 0
    before = (command.directory / "out" / "ckpt.pth").read_bytes()
    refused = command.call(
        "--resume",
        "--seed",
        "3",
        "--optimizer",
        "adam",
        "--batch_size",
        "5",
        "--hidden_size",
        "48",
        "--max_steps",
        "14",
    )
    assert refused.returncode == 2
    for expected in (
        "seed: 0 in the checkpoint, 3 now",
        "optimizer: adamw in the checkpoint, adam now",
        "global_batch: 3 in the checkpoint, 5 now",
        "hidden_size: 32 in the checkpoint, 48 now",
        "--allow_change",
    ):
        assert expected in refused.stderr
    assert (command.directory / "out" / "ckpt.pth").read_bytes() == before

    # The same global batch split otherwise, and other intervals, are the same run.
    free = ("--batch_size", "1", "--accumulation_steps", "3", "--eval_interval", "7", "--keep_last", "1")
    assert command.call("--resume", "--max_steps", "13", *free).returncode == 0
    allowed = command.call("--resume", "--seed", "3", "--allow_change", "seed", "--max_steps", "14")
    assert allowed.returncode == 0 and "seed changed from 0 to 3" in allowed.stderr
    unknown = command.call("--resume", "--allow_change", "sead")
    assert unknown.returncode == 2 and "did you mean seed?" in unknown.stderr
