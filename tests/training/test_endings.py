"""Several processes of which one goes wrong: all end soon, the error is told once, the checkpoints can be resumed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Launcher = Callable[..., list[str]]

# Runs train.py; in the sixth step of the second process the statement in FAULT is executed.
DRIVER = """
import os, runpy, signal, sys, time
import torch
from foundation.errors import UserError
from training.trainer import Trainer

steps, step = 0, Trainer._step

def with_fault(self, batches):
    global steps
    steps += 1
    if steps == 6 and os.environ["RANK"] == "1":
        exec(os.environ["FAULT"])
    return step(self, batches)

Trainer._step = with_fault
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_with_fault(
    command: Any, launcher: Launcher, fault: str, *more: str
) -> tuple[subprocess.CompletedProcess[str], float]:
    """Two processes, saved at step 4, the second one with `fault` in step 6; and how long that took, in seconds."""
    driver: Path = command.directory / "driver.py"
    driver.write_text(DRIVER)
    began = time.monotonic()
    arguments = ("--ddp", "--preflight", "false", "--lr_scheduler", "constant", *more)
    done = command.run(*arguments, launcher=[*launcher("torchrun", 2), str(driver)], FAULT=fault)
    return done, time.monotonic() - began


def own_words(done: subprocess.CompletedProcess[str]) -> str:
    """What our processes said, without torchrun's own traceback and report, which follow."""
    return done.stderr.split("failed (exitcode")[0]


@pytest.mark.slow
def test_a_killed_process_ends_the_others(command: Any, launcher: Launcher) -> None:
    """The survivor says one line; the last checkpoint continues, in one process, as if nothing had been."""
    done, _ = run_with_fault(command, launcher, "os.kill(os.getpid(), signal.SIGKILL)")
    assert done.returncode != 0
    assert done.stderr.count("lost contact with another process") == 1
    assert "Traceback" not in own_words(done)
    cause = done.stderr.split("Root Cause")[1]
    assert "rank      : 1" in cause and "SIGKILL" in cause
    rest = command.call("--resume", "--lr_scheduler", "constant")
    assert rest.returncode == 0 and "at step 4" in rest.stdout, rest.stderr
    whole = command.call("--out_dir", "whole", "--accumulation_steps", "2", "--lr_scheduler", "constant")
    assert whole.returncode == 0
    losses, expected = ([row["loss"] for row in command.rows(name)] for name in ("out", "whole"))
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("fault", "message", "tracebacks"),
    [
        ('raise ZeroDivisionError("planted")', "error: process 1 of 2: ZeroDivisionError: planted", 1),
        pytest.param(
            'raise UserError("token id 999 is outside")',
            "error: process 1 of 2: token id 999 is outside",
            0,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_an_error_in_one_process_is_told_once(
    command: Any, launcher: Launcher, fault: str, message: str, tracebacks: int
) -> None:
    """A fault of the program with its traceback, a user's mistake without; torchrun's report names it as the cause."""
    done, _ = run_with_fault(command, launcher, fault)
    assert done.returncode != 0
    said = own_words(done)
    assert said.count(message) == 1 and said.count("Traceback") == tracebacks
    assert said.count("lost contact with another process") == 1
    assert said.index(message) < said.index("lost contact")
    cause = done.stderr.split("Root Cause")[1]
    assert "rank      : 1" in cause and message.removeprefix("error: process 1 of 2: ") in cause
    assert (command.directory / "out/checkpoints/step_000004.pth").is_file()


@pytest.mark.slow
def test_a_process_that_hangs_is_given_up(command: Any, launcher: Launcher) -> None:
    """After process_timeout; torchrun kills the one that hangs half a minute later."""
    done, seconds = run_with_fault(command, launcher, "time.sleep(1000)", "--process_timeout", "5s")
    assert done.returncode != 0 and seconds < 100
    assert own_words(done).count("another process has not answered for 5\u202fs (process_timeout)") == 1
    assert "Traceback" not in own_words(done)
    assert (command.directory / "out/checkpoints/step_000004.pth").is_file()


@pytest.mark.slow
def test_torchrun_starts_killed_processes_again(command: Any, launcher: Launcher) -> None:
    """--max_restarts with --resume: the run is finished, as if nothing had been."""
    driver: Path = command.directory / "driver.py"
    driver.write_text(DRIVER)
    fault = "os.environ['TORCHELASTIC_RESTART_COUNT'] == '0' and os.kill(os.getpid(), signal.SIGKILL)"
    launch = [*launcher("torchrun", 2), "--max_restarts=1", str(driver)]
    done = command.run("--ddp", "--preflight", "false", "--resume", launcher=launch, FAULT=fault)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("lost contact with another process") == 1 and "at step 4" in done.stdout
    assert command.call("--out_dir", "one", "--accumulation_steps", "2").returncode == 0
    losses, expected = ([row["loss"] for row in command.rows(name)] for name in ("out", "one"))
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-4)


def start_nodes(
    command: Any, port: int, *arguments: str, driver: Path | None = None, fault: str = "", restarts: int = 0
) -> list[Any]:
    """Two launchers of one process each, as on two machines, over one rendezvous."""
    launch = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc_per_node=1", "--rdzv_backend=c10d"]
    launch += [f"--max_restarts={restarts}", "--rdzv_id=test", f"--rdzv_endpoint=127.0.0.1:{port}"]
    launch += [str(driver)] if driver else []
    argv = command.argv("--ddp", *arguments)
    return [
        subprocess.Popen(
            [argv[0], *launch, *argv[1:]],
            cwd=command.directory,
            env=command.environment(FAULT=fault),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]


@pytest.mark.slow
def test_two_machines_train_as_one_process(command: Any, free_port: int) -> None:
    nodes = start_nodes(command, free_port)
    errors = [node.communicate(timeout=200)[1] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], errors
    assert command.call("--out_dir", "one", "--accumulation_steps", "2").returncode == 0
    losses, expected = ([row["loss"] for row in command.rows(name)] for name in ("out", "one"))
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_a_process_killed_on_one_machine_ends_the_other(command: Any, free_port: int) -> None:
    driver: Path = command.directory / "driver.py"
    driver.write_text(DRIVER)
    kill = "os.kill(os.getpid(), signal.SIGKILL)"
    nodes = start_nodes(command, free_port, "--preflight", "false", driver=driver, fault=kill)
    errors = [node.communicate(timeout=200)[1] for node in nodes]
    assert all(node.returncode for node in nodes)
    assert sum(error.count("lost contact with another process") for error in errors) == 1
    assert (command.directory / "out/checkpoints/step_000004.pth").is_file()


@pytest.mark.slow
def test_two_machines_start_killed_processes_again(command: Any, free_port: int) -> None:
    """Only the machine that lost its process counts a restart; the processes find each other all the same."""
    driver: Path = command.directory / "driver.py"
    driver.write_text(DRIVER)
    kill = "os.environ['TORCHELASTIC_RESTART_COUNT'] == '0' and os.kill(os.getpid(), signal.SIGKILL)"
    options = ("--preflight", "false", "--resume", "--process_timeout", "60s")
    nodes = start_nodes(command, free_port, *options, driver=driver, fault=kill, restarts=1)
    said = [node.communicate(timeout=200) for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    assert sum("at step 4" in output for output, _ in said) == 1
    assert command.call("--out_dir", "one", "--accumulation_steps", "2").returncode == 0
    losses, expected = ([row["loss"] for row in command.rows(name)] for name in ("out", "one"))
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-4)
