"""best/ of a run that goes back, or on in another directory: never the model of a run that it is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.training.test_resume import assert_same_run, die_at
from training.saving import checkpoint
from training.saving.best_again import bring_best_back
from training.saving.run_directory import RunDirectory
from training.state import RunState

WORSE = ("--learning_rate", "1e-30", "--weight_decay", "0", "--lr_scheduler", "constant", "--allow_change")
CHANGED = ("learning_rate", "weight_decay", "lr_scheduler")
EVERY_FOUR = ("--eval_interval", "4")


def step_of(model: Path) -> int:
    return int(json.loads((model / "config.json").read_text())["mateconv"]["step"])


def files(model: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in model.iterdir()}


def worse(command: Any, *more: str) -> Any:
    """Go on as a run that learns nothing: no validation is an improvement."""
    done = command.call(*EVERY_FOUR, *more, *WORSE, *CHANGED)
    assert done.returncode == 0, done.stderr
    return done


def test_on_in_another_directory_the_best_model_comes_along(command: Any) -> None:
    first, second = command.directory / "first", command.directory / "second"
    assert command.call("--out_dir", "first", *EVERY_FOUR).returncode == 0
    assert step_of(first / "best") == 12
    worse(command, "--out_dir", "second", "--resume_from", "first/ckpt.pth", "--max_steps", "13")
    for name in ("model.safetensors", "tokenizer.json"):
        assert files(second / "best")[name] == files(first / "best")[name]
    assert step_of(second / "best") == 12


def test_a_step_back_brings_the_best_model_back(command: Any) -> None:
    out = command.directory / "out"
    assert command.call(*EVERY_FOUR, "--max_steps", "8").returncode == 0
    best = files(out / "best")
    assert command.call(*EVERY_FOUR, "--resume").returncode == 0
    assert step_of(out / "best") == 12
    tried = command.call(*EVERY_FOUR, "--resume_from", "out/checkpoints/step_000008.pth", "--dry_run")
    assert tried.returncode == 0 and step_of(out / "best") == 12, "it changes nothing"
    worse(command, "--resume_from", "out/checkpoints/step_000008.pth", "--max_steps", "9")
    assert step_of(out / "best") == 8
    assert files(out / "best")["model.safetensors"] == best["model.safetensors"]
    assert checkpoint.load(out / "ckpt.pth")["best"]["step"] == 8


@pytest.mark.parametrize("damaged", [False, True])
def test_without_a_checkpoint_of_it_the_next_validation_is_the_best(command: Any, damaged: bool) -> None:
    out = command.directory / "out"
    assert command.call(*EVERY_FOUR).returncode == 0
    path = checkpoint.step_path(out, 4)
    if damaged:
        path.write_bytes(path.read_bytes()[:-4000])
    else:
        path.unlink()
    content = checkpoint.load(checkpoint.step_path(out, 8))
    content["state"]["best"]["step"] = content["best"]["step"] = 4  # as if step 8 had been no improvement
    checkpoint.step_path(out, 8).unlink()
    checkpoint.save(command.directory / "made", content, keep_last=1)
    (command.directory / "made" / "ckpt.pth").rename(checkpoint.step_path(out, 8))
    done = worse(command, "--resume_from", "out/checkpoints/step_000008.pth", "--max_steps", "10")
    assert "at step 4: there is no checkpoint of it" in done.stderr
    assert step_of(out / "best") == 10
    assert checkpoint.load(out / "ckpt.pth")["best"]["step"] == 10


def test_a_best_model_behind_the_last_checkpoint_stays(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after best/ was written at step 10 and before the checkpoint of step 12, the run comes there again."""
    assert command.call("--out_dir", "whole").returncode == 0
    die_at(monkeypatch, 11)
    assert command.call("--out_dir", "cut").returncode == 1
    cut = command.directory / "cut"
    before = (cut / "best" / "model.safetensors").stat()
    die_at(monkeypatch, 1)
    assert command.call("--out_dir", "cut", "--resume").returncode == 1
    assert step_of(cut / "best") == 10 and (cut / "best" / "model.safetensors").stat() == before
    monkeypatch.delenv("MATECONV_FAILPOINT")
    done = command.call("--out_dir", "cut", "--resume")
    assert done.returncode == 0 and "no checkpoint of it" not in done.stderr
    assert_same_run(command, command.directory / "whole", cut)


def test_a_branch_can_be_resumed_from_its_first_moment(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before its own first save; and of a run that is over, nothing of which is left to be done."""
    first, branch = command.directory / "first", ("--out_dir", "second", "--save_interval", "8")
    assert command.call("--out_dir", "first", *EVERY_FOUR).returncode == 0
    whole = checkpoint.load(first / "ckpt.pth")["model"]
    die_at(monkeypatch, 1)
    assert command.call(*branch, "--resume_from", "first/checkpoints/step_000008.pth").returncode == 1
    monkeypatch.delenv("MATECONV_FAILPOINT")
    assert checkpoint.saved_steps(command.directory / "second") == [8]
    assert command.call("--out_dir", "third", "--resume_from", "first/ckpt.pth").returncode == 0
    shutil.rmtree(first)
    assert command.call(*branch, "--resume").returncode == 0
    resumed = checkpoint.load(command.directory / "second" / "ckpt.pth")["model"]
    assert all(torch.equal(weight, whole[name]) for name, weight in resumed.items()) and len(resumed) == len(whole)
    assert command.call("--out_dir", "third", "--resume", "--max_steps", "13").returncode == 0
    assert checkpoint.load(command.directory / "third" / "ckpt.pth")["step"] == 13


@pytest.mark.parametrize("answer", [True, False])
def test_every_process_does_as_the_first_one_says(answer: bool, tmp_path: Path) -> None:
    """Else one of them would wait alone for the weights of a best model."""
    world = SimpleNamespace(is_main=False, same_everywhere=lambda mine: answer)
    state = RunState(step=8, best={"val_loss": 3.0, "step": 4, "validation": "x"})
    parts: Any = SimpleNamespace(world=world, validation="some", directory=RunDirectory(tmp_path))
    bring_best_back(parts, state, tmp_path / "ckpt.pth")
    assert (state.best is not None) == answer
