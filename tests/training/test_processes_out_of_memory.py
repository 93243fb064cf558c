"""Several processes, and the memory of one of them runs out: before the first step, later, in a validation."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.config import TrainingConfig
from training.saving import checkpoint
from training.saving.run_directory import RunDirectory
from training.saving.smaller_microbatch import leave

Launcher = Callable[..., list[str]]

# Runs train.py; from the step SINCE on, the second process has no memory for more than MOST sequences.
DRIVER = """
import os, runpy, sys
import torch
from training.tasks.causal import CausalLoss
from training.trainer import Trainer

most, since, steps = int(os.environ["MOST"]), int(os.environ["SINCE"]), 0
step, forward = Trainer._step, CausalLoss.forward

def counted(self, batches):
    global steps
    steps = self._state.step + 1
    return step(self, batches)

def limited(self, inputs, **tensors):
    wanted = not (os.environ["ONLY"] and self.training)
    if wanted and os.environ["RANK"] == "1" and steps >= since and len(inputs) > most:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    return forward(self, inputs, **tensors)

Trainer._step, CausalLoss.forward = counted, limited
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""
FOUR = ("--ddp", "--batch_size", "4", "--lr_scheduler", "constant", "--max_steps", "7")


def run_two(
    command: Any, launcher: Launcher, *more: str, most: int, since: int, restarts: int = 0, only: str = ""
) -> subprocess.CompletedProcess[str]:
    """Two processes, of which the second holds `most` sequences from step `since` on (0: before the first)."""
    driver: Path = command.directory / "driver.py"
    driver.write_text(DRIVER)
    launch = [*launcher("torchrun", 2), f"--max_restarts={restarts}", str(driver)]
    done: subprocess.CompletedProcess[str] = command.run(
        *FOUR, *more, launcher=launch, MOST=str(most), SINCE=str(since), ONLY=only
    )
    return done


def assert_same_steps(command: Any, out: str = "out") -> None:
    """The losses are those of one process that holds all samples of a step."""
    whole = command.call(*FOUR[1:], "--out_dir", "whole", "--batch_size", "8")
    assert whole.returncode == 0, whole.stderr
    losses, expected = ([row["loss"] for row in command.rows(name)] for name in (out, "whole"))
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_a_trial_that_does_not_fit_one_process_is_smaller_in_all(command: Any, launcher: Launcher) -> None:
    done = run_two(command, launcher, "--use_ema", "true", most=2, since=0)
    assert done.returncode == 0, done.stderr
    assert "a step with 4 sequences at a time does not fit" in done.stderr and "the run takes 2, 2 micro" in done.stderr
    content = checkpoint.load(command.directory / "out" / "ckpt.pth")
    assert content["state"]["microbatch"] == 2 and content["global_batch"] == 8
    assert_same_steps(command)


@pytest.mark.slow
def test_a_sequence_that_does_not_fit_one_process_is_told_once(command: Any, launcher: Launcher) -> None:
    done = run_two(command, launcher, most=0, since=0)
    assert done.returncode != 0 and "Traceback" not in done.stderr.split("failed (exitcode")[0]
    message = "error: process 1 of 2: batch_size 4: a step of 4 x 17 tokens does not fit, nor does one with a single"
    assert done.stderr.count(message) == 1
    assert "--activation_checkpointing true" in done.stderr and "--batch_size auto" not in done.stderr


@pytest.mark.slow
def test_processes_that_are_started_again_take_less(command: Any, launcher: Launcher) -> None:
    """In step 6, with a checkpoint of step 4 and a fixed global batch; torchrun starts them again by itself."""
    fixed = ("--global_batch_size", "8", "--resume", "--preflight", "false")
    done = run_two(command, launcher, *fixed, most=2, since=6, restarts=1)
    assert done.returncode == 0, done.stderr
    assert "memory ran out at step 6 with 4 sequences at a time on process 1" in done.stderr
    assert (
        "goes on from the last checkpoint with the same samples, 2 sequences at a time in 2 microsteps" in done.stderr
    )
    assert checkpoint.load(command.directory / "out" / "ckpt.pth")["state"]["microbatch"] == 2
    assert_same_steps(command)


@pytest.mark.slow
def test_a_validation_that_does_not_fit_one_process_is_smaller_after_a_restart(
    command: Any, launcher: Launcher
) -> None:
    """Before anything is saved: the run begins again."""
    more = ("--resume", "--preflight", "false", "--eval_interval", "3", "--save_interval", "9")
    done = run_two(command, launcher, *more, most=2, since=0, restarts=1, only="validation")
    assert done.returncode == 0, done.stderr
    assert "memory ran out in a validation with 4 sequences at a time on process 1" in done.stderr
    assert "begins again, for nothing is saved yet, with the same samples, 2 sequences" in done.stderr
    assert_same_steps(command)


def test_a_smaller_microbatch_that_a_start_left_is_taken_by_a_resume_alone(command: Any) -> None:
    """Before the first checkpoint, and still known when that start ends without one; a fresh run forgets it."""
    directory = RunDirectory(command.directory / "out")
    arguments = ("--batch_size", "4", "--max_steps", "2", "--preflight", "false")
    for flag, microbatch in (("--resume", 2), ("--overwrite", None)):
        leave(directory, TrainingConfig(batch_size=4), 3)
        done = command.call(*arguments, flag)
        assert done.returncode == 0, done.stderr
        assert checkpoint.load(directory.newest)["state"]["microbatch"] == microbatch
        assert directory.microbatch.exists() is (flag == "--resume")


@pytest.mark.slow
def test_a_sharded_trial_that_does_not_fit_leaves_a_smaller_microbatch(command: Any, launcher: Launcher) -> None:
    """No process can try alone what others hold the weights of: the next start takes less."""
    done = run_two(command, launcher, "--fsdp", "--resume", most=2, since=0, restarts=1)
    assert done.returncode == 0, done.stderr
    assert "batch_size 4: a step of 4 x 17 tokens does not fit (CUDA out of memory" in done.stderr
    assert "Give --batch_size 2 --accumulation_steps 2" in done.stderr
    assert checkpoint.load(command.directory / "out" / "ckpt.pth")["state"]["microbatch"] == 2
    assert_same_steps(command)
