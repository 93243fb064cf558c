"""Several processes: the same loss curve as one, under both launchers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from foundation.errors import UserError
from shards.dataset import Dataset
from shards.packing import PackedSamples
from tests.quick import quick
from training.devices.distributed import join_world
from training.saving import checkpoint
from training.step import Stepper

Launcher = Callable[..., list[str]]


@pytest.mark.parametrize("name", quick(["torchrun", "launch"], ["torchrun"]))
def test_two_processes_equal_one_with_twice_the_accumulation(command: Any, launcher: Launcher, name: str) -> None:
    """4 microsteps in one process, 2 in each of two: the same samples, losses within 1e-4 (only rounding
    differs)."""
    one = command.call("--out_dir", "one", "--accumulation_steps", "4")
    assert one.returncode == 0, one.stderr
    two = command.run("--out_dir", "two", "--accumulation_steps", "2", "--ddp", launcher=launcher(name, 2))
    assert two.returncode == 0, two.stderr
    assert name == "launch" or "Warning" not in two.stderr  # torch warns of that launcher
    rows = list(zip(command.rows("one"), command.rows("two"), strict=True))
    assert len(rows) == 12
    for single, double in rows:
        assert single.keys() == double.keys()
        for key, value in single.items():
            np.testing.assert_allclose(double[key], value, rtol=0, atol=1e-4, err_msg=f"step {single['step']}: {key}")


# Writes down what each process computes on: for each step, for each microstep, the rows of tokens.
RECORDER = """
import json, os
from training.step import Stepper

computed = Stepper.run

def recorded(self, batches, *rest):
    with open(f"rows-{os.environ.get('RANK', '0')}.jsonl", "a") as file:
        print(json.dumps([batch.tensors["inputs"].tolist() for batch in batches]), file=file)
    return computed(self, batches, *rest)

Stepper.run = recorded
"""
DRIVER = "import runpy, sys\nsys.argv.pop(0)\nrunpy.run_path(sys.argv[0], run_name='__main__')\n"


def rows_seen(directory: Path, ranks: int) -> list[list[list[int]]]:
    """For each step the rows of tokens in the order of their samples: microstep by microstep, in it rank by rank."""
    files = [directory / f"rows-{rank}.jsonl" for rank in range(ranks)]
    steps = zip(*([json.loads(line) for line in file.read_text().splitlines()] for file in files), strict=True)
    for file in files:
        file.unlink()
    return [[row for shares in zip(*step, strict=True) for share in shares for row in share] for step in steps]


@pytest.mark.slow
def test_a_run_goes_on_with_other_processes(
    command: Any, launcher: Launcher, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process, then two, then one, nothing said but --resume: the samples of each step and their order are those
    of an uninterrupted process, and so is the curve."""
    monkeypatch.setattr(Stepper, "run", Stepper.run)  # put back afterwards
    exec(RECORDER, {})
    monkeypatch.chdir(command.directory)
    options = ("--accumulation_steps", "2", "--lr_scheduler", "constant", "--preflight", "false")
    whole = command.call("--out_dir", "whole", *options)
    assert whole.returncode == 0, whole.stderr
    expected = rows_seen(command.directory, 1)
    samples = PackedSamples(Dataset.open(dataset, "train"), 17, seed=0)
    assert expected == [samples.batch(np.arange(6 * step, 6 * step + 6)).inputs.tolist() for step in range(12)]
    assert command.call(*options, "--max_steps", "4").returncode == 0
    seen = rows_seen(command.directory, 1)
    driver = command.directory / "driver.py"
    driver.write_text(RECORDER + DRIVER)
    two = command.run(
        *options, "--max_steps", "8", "--ddp", "--resume", launcher=[*launcher("torchrun", 2), str(driver)]
    )
    assert two.returncode == 0, two.stderr
    assert "have 6 samples: on 2 process(es) that is batch_size 3 x accumulation 1" in two.stdout
    seen += rows_seen(command.directory, 2)
    done = command.call(*options, "--resume")
    assert done.returncode == 0, done.stderr
    seen += rows_seen(command.directory, 1)
    assert seen == expected
    losses, wanted = ([row["loss"] for row in command.rows(name)] for name in ("out", "whole"))
    np.testing.assert_allclose(losses, wanted, rtol=0, atol=1e-4)
    refused = command.call("--resume", *options, "--accumulation_steps", "4")
    assert refused.returncode == 2 and "global_batch: 6 in the checkpoint, 12 now" in refused.stderr


@pytest.mark.slow
def test_three_processes_resume_bit_for_bit(command: Any, launcher: Launcher) -> None:
    """Without the trial step, whose sum over ranks would have settled the order in which three of them add up."""
    options = ("--ddp", "--preflight", "false", "--hidden_size", "96", "--save_interval", "3", "--max_steps", "6")
    whole = command.run(*options, "--out_dir", "whole", launcher=launcher("torchrun", 3))
    assert whole.returncode == 0, whole.stderr
    again = ("--out_dir", "cut", "--resume_from", "whole/checkpoints/step_000003.pth")
    cut = command.run(*options, *again, launcher=launcher("torchrun", 3))
    assert cut.returncode == 0, cut.stderr
    one, other = (checkpoint.load(command.directory / name / "ckpt.pth") for name in ("whole", "cut"))
    assert one["step"] == other["step"] == 6
    assert all(torch.equal(weight, other["model"][name]) for name, weight in one["model"].items())


def test_torchrun_without_ddp_is_refused_once(command: Any, launcher: Launcher) -> None:
    done = command.run(launcher=launcher("torchrun", 2))
    assert done.returncode != 0 and "--ddp is not given" in done.stderr
    assert not (command.directory / "out").exists()


def test_a_process_that_is_told_too_little_of_the_others_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"did not find the others \(.*RANK.*start all of them with torchrun"):
        join_world(True, None, "cpu")
    monkeypatch.setenv("WORLD_SIZE", "")
    assert join_world(True, None, "cpu")[0].size == 1


@pytest.mark.parametrize("name", ["auto", "mps"])
def test_several_processes_on_an_apple_gpu_are_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Before they look for each other; one process takes the GPU, also from torchrun."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"2 processes, but .*one process, without torchrun, or add --device cpu"):
        join_world(True, None, name)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert join_world(True, None, name)[1].type == "mps"


def test_a_refusal_is_said_once_and_no_process_hangs(command: Any, launcher: Launcher) -> None:
    assert command.call("--max_steps", "2").returncode == 0
    done = command.run("--ddp", launcher=launcher("torchrun", 2))
    assert done.returncode != 0
    assert done.stderr.count("error: out: holds a run") == 1


def test_a_mistake_that_all_processes_make_is_told_once(command: Any, launcher: Launcher) -> None:
    done = command.run("--ddp", "--train_data_path", "nowhere", launcher=launcher("torchrun", 2))
    assert done.returncode != 0 and done.stderr.count("error: nowhere") == 1, done.stderr
    assert "lost contact" not in done.stderr
    cause = done.stderr.split("Root Cause")[1]
    assert "exitcode  : 2" in cause and "nowhere" in cause


def test_ddp_without_torchrun_trains_in_one_process(command: Any) -> None:
    done = command.call("--ddp", "--max_steps", "2")
    assert done.returncode == 0 and "one process" in done.stdout


@pytest.mark.slow
def test_torchrun_with_one_process_is_the_plain_run(command: Any, launcher: Launcher) -> None:
    done = command.run("--ddp", "--out_dir", "launched", launcher=launcher("torchrun", 1))
    assert done.returncode == 0, done.stderr
    assert command.call("--out_dir", "plain").returncode == 0
    assert command.rows("launched") == command.rows("plain")
