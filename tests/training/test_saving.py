"""Saving beside the steps: on request, in the background, on a full disk; and which checkpoints are kept."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from training.saving import checkpoint
from training.saving.saver import Saver
from training.trainer import Trainer


def test_sigusr1_saves_and_the_run_goes_on(command: Any, around_step: Any) -> None:
    assert command.call("--out_dir", "plain").returncode == 0
    around_step(lambda trainer, step: os.kill(os.getpid(), signal.SIGUSR1) if step == 6 else None)
    done = command.call("--save_interval", "100", "--eval_interval", "100")
    assert done.returncode == 0, done.stderr
    assert checkpoint.saved_steps(command.directory / "out") == [6, 12]
    assert "step 6 is saved" in done.stdout + done.stderr
    weights = [command.directory / name / "final" / "model.safetensors" for name in ("plain", "out")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_steps_go_on_while_a_checkpoint_is_written(
    command: Any, around_step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint of step 4 is not finished before step 7 begins: a loop that waited for it would never end."""
    at_step_7, save, order = threading.Event(), checkpoint.save, []

    def slow(run: Path, content: dict[str, Any], *arguments: Any) -> Path:
        if content["step"] == 4:
            assert at_step_7.wait(60)
        order.append(("saved", content["step"]))
        return save(run, content, *arguments)

    def note(trainer: Trainer, step: int) -> None:
        order.append(("step", step))
        if step == 7:
            at_step_7.set()

    monkeypatch.setattr(checkpoint, "save", slow)
    around_step(note)
    assert command.call("--out_dir", "while", "--eval_interval", "100").returncode == 0
    assert order.index(("saved", 4)) > order.index(("step", 7))
    at_step_7.set()
    order.clear()
    assert command.call("--out_dir", "then", "--eval_interval", "100", "--async_save", "false").returncode == 0
    assert order.index(("saved", 4)) == order.index(("step", 5)) - 1
    for file in ("ckpt.pth", "final/model.safetensors", "best/model.safetensors"):
        first, second = (command.directory / name / file for name in ("while", "then"))
        if file != "ckpt.pth":
            assert first.read_bytes() == second.read_bytes()
        else:
            ours, theirs = checkpoint.load(first), checkpoint.load(second)
            for key in ("model", "optimizer"):
                torch.testing.assert_close(ours[key], theirs[key], rtol=0, atol=0)


@pytest.mark.parametrize("asynchronous", ["true", "false"])
def test_a_write_that_fails_ends_the_run_with_one_message_and_the_state_before_it(
    asynchronous: str, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MATECONV_FAILPOINT", "checkpoint.written:2:raise=ENOSPC")
    monkeypatch.setattr("foundation.failpoints._hits", Counter())
    failed = command.call("--async_save", asynchronous)
    assert failed.returncode == 1 and "Traceback" not in failed.stderr
    assert failed.stderr.count("the disk is full") == 1 and "step_000008.pth" in failed.stderr
    out = command.directory / "out"
    assert checkpoint.load(out / "ckpt.pth")["step"] == 4 and checkpoint.saved_steps(out) == [4]
    assert not [path for path in out.rglob(".tmp-*")]
    monkeypatch.delenv("MATECONV_FAILPOINT")
    assert command.call("--resume").returncode == 0
    assert [row["step"] for row in command.rows()] == list(range(1, 13))


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("a cause\nand more")])
def test_a_save_that_fails_beside_an_error_does_not_take_its_place(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise error

    said: list[str] = []
    monkeypatch.setattr("training.saving.saver.log.error", lambda form, *values: said.append(form % values))
    saver: Any = SimpleNamespace(_writer=SimpleNamespace(wait=fail))
    Saver.abandon(saver)
    (line,) = said
    assert line.startswith("the last save failed as well: ") and "\n" not in line


def test_the_best_steps_checkpoint_is_kept_beside_the_newest(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Validated after every second step; planted values make step 4 the best."""
    values = iter([5.0, 4.0, 4.5, 4.6, 4.7, 4.8] * 2)
    monkeypatch.setattr("training.evaluation.evaluator.Evaluator.run", lambda *_: {"val_loss": next(values)})
    arguments = ("--eval_interval", "2", "--save_interval", "2", "--keep_last", "2")
    assert command.call(*arguments).returncode == 0
    assert checkpoint.saved_steps(command.directory / "out") == [4, 10, 12]
    assert command.call(*arguments, "--out_dir", "other", "--keep_best", "false").returncode == 0
    assert checkpoint.saved_steps(command.directory / "other") == [10, 12]
