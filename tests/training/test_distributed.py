"""Several processes: the same loss curve as one, under both launchers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

Launcher = Callable[..., list[str]]


@pytest.mark.parametrize("name", ["torchrun", "launch"])
def test_two_processes_equal_one_with_twice_the_accumulation(command: Any, launcher: Launcher, name: str) -> None:
    """4 microsteps in one process, 2 in each of two: the same samples, losses within 1e-4 (only rounding
    differs)."""
    one = command.call("--out_dir", "one", "--accumulation_steps", "4")
    assert one.returncode == 0, one.stderr
    two = command.run("--out_dir", "two", "--accumulation_steps", "2", "--ddp", launcher=launcher(name, 2))
    assert two.returncode == 0, two.stderr
    rows = list(zip(command.rows("one"), command.rows("two"), strict=True))
    assert len(rows) == 12
    for single, double in rows:
        assert single.keys() == double.keys()
        for key, value in single.items():
            np.testing.assert_allclose(double[key], value, rtol=0, atol=1e-4, err_msg=f"step {single['step']}: {key}")


def test_a_run_of_two_processes_continues_in_one(command: Any, launcher: Launcher) -> None:
    """Ranks may change when the global batch stays: the curve is that of an uninterrupted single process."""
    two = command.run("--max_steps", "8", "--ddp", "--lr_scheduler", "constant", launcher=launcher("torchrun", 2))
    assert two.returncode == 0, two.stderr
    refused = command.call("--resume", "--accumulation_steps", "4", "--lr_scheduler", "constant")
    assert refused.returncode == 2 and "global_batch: 6 in the checkpoint, 12 now" in refused.stderr
    done = command.call("--resume", "--lr_scheduler", "constant")
    assert done.returncode == 0, done.stderr
    assert "have 6 samples: on 1 process(es) that is batch_size 3 x accumulation 2" in done.stdout
    whole = command.call("--out_dir", "whole", "--accumulation_steps", "2", "--lr_scheduler", "constant")
    assert whole.returncode == 0
    losses, expected = ([row["loss"] for row in command.rows(name)] for name in ("out", "whole"))
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-4)


def test_torchrun_without_ddp_is_refused_once(command: Any, launcher: Launcher) -> None:
    done = command.run(launcher=launcher("torchrun", 2))
    assert done.returncode != 0 and "--ddp is not given" in done.stderr
    assert not (command.directory / "out").exists()


def test_a_refusal_is_said_once_and_no_process_hangs(command: Any, launcher: Launcher) -> None:
    assert command.call("--max_steps", "2").returncode == 0
    done = command.run("--ddp", launcher=launcher("torchrun", 2))
    assert done.returncode != 0
    assert done.stderr.count("error: out: holds a run") == 1


def test_ddp_without_torchrun_trains_in_one_process(command: Any) -> None:
    done = command.call("--ddp", "--max_steps", "2")
    assert done.returncode == 0 and "one process" in done.stdout


def test_torchrun_with_one_process_is_the_plain_run(command: Any, launcher: Launcher) -> None:
    done = command.run("--ddp", "--out_dir", "launched", launcher=launcher("torchrun", 1))
    assert done.returncode == 0, done.stderr
    assert command.call("--out_dir", "plain").returncode == 0
    assert command.rows("launched") == command.rows("plain")
