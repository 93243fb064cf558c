"""Faults planted into the real command: NaN, loss spikes, memory that runs out."""

from __future__ import annotations

import json
import math
import signal
from collections import Counter
from typing import Any

import pytest
import torch

from tests.training.test_resume import die_at
from training.saving import checkpoint
from training.tasks.causal import CausalLoss
from training.trainer import Trainer

TWICE = ("--accumulation_steps", "2", "--max_steps", "9", "--document_mask", "false", "--preflight", "false")
BAD_STEP = 6  # takes the samples 30 to 35, of which 33 to 35 in its second microstep


def plant_in_batch(around: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of the second microstep of step 6 is NaN, and so are its gradients."""
    now: Counter[str] = Counter()
    around(lambda trainer, step: now.update(calls=-now["calls"], step=step - now["step"]))
    forward = CausalLoss.forward

    def planted(self: CausalLoss, **tensors: Any) -> Any:
        loss = forward(self, **tensors)
        now["calls"] += self.training
        return loss * math.nan if now["step"] == BAD_STEP and now["calls"] == 2 else loss

    monkeypatch.setattr(CausalLoss, "forward", planted)


def plant_in_gradient(around: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    handles: list[Any] = []

    def hook(trainer: Trainer, step: int) -> None:
        while handles:
            handles.pop().remove()
        if step == BAD_STEP:
            weight = trainer._parts.stepper._parameters[3]
            handles.append(weight.register_hook(lambda gradient: gradient * math.inf))

    around(hook)


def plant_in_state(around: Any, monkeypatch: pytest.MonkeyPatch, key: str = "exp_avg", place: int = 7) -> None:
    def corrupt(trainer: Trainer, step: int) -> None:
        if step == BAD_STEP:
            optimizer = next(iter(trainer._parts.stepper.optimizers.members.values()))
            optimizer.state[trainer._parts.stepper._parameters[3]][key].flatten()[place] = math.nan

    around(corrupt)


def plant_in_count(around: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plant_in_state(around, monkeypatch, "step", 0)


PLANTS = {"batch": plant_in_batch, "gradient": plant_in_gradient, "state": plant_in_state, "count": plant_in_count}
STATE = ("state", "count")


@pytest.mark.parametrize("where", PLANTS)
def test_nan_is_kept_from_the_weights_and_named_and_the_run_goes_on(
    where: str, command: Any, around_step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    PLANTS[where](around_step, monkeypatch)
    done = command.call(*TWICE, "--use_ema", "true")
    assert done.returncode == 0, done.stderr
    samples = "33 to 35" if where == "batch" else "30 to 35"
    assert f"step {BAD_STEP} skipped" in done.stderr and f"samples {samples}" in done.stderr
    rows = {row["step"]: row for row in command.rows()}
    assert len(rows) == 9 and [step for step, row in rows.items() if row.get("skipped")] == [BAD_STEP]
    assert all(math.isfinite(row["loss"]) for step, row in rows.items() if step != BAD_STEP)
    saved = checkpoint.load(command.directory / "out" / "ckpt.pth")
    for tensor in [*saved["model"].values(), *saved["ema"]["weights"].values()]:
        assert bool(tensor.isfinite().all())
    for moments in saved["optimizer"]["adamw"]["state"].values():
        assert all(bool(torch.as_tensor(value).isfinite().all()) for value in moments.values())
    assert saved["state"]["skipped"] == 1 and saved["state"]["bad_steps"] == 0
    (record,) = [json.loads(line) for line in (command.directory / "out" / "spikes.jsonl").read_text().splitlines()]
    assert record["event"] == "skipped" and record["step"] == BAD_STEP and record["samples"] == [30, 35]
    assert record["suspects"] == [[33, 35] if where == "batch" else [30, 35]]
    assert {piece["sample"] for piece in record["documents"]} == set(range(*record["suspects"][0])) | {35}
    assert (record["broken_moments"] == 1) == (where in STATE)
    assert ("starts anew" in done.stderr or "start anew" in done.stderr) == (where in STATE)


@pytest.mark.parametrize("where", PLANTS)
def test_nan_stops_the_run_when_that_is_asked_for(
    where: str, command: Any, around_step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    PLANTS[where](around_step, monkeypatch)
    done = command.call(*TWICE, "--on_nonfinite", "stop")
    assert done.returncode == 1
    assert f"stopped at step {BAD_STEP}" in done.stderr and "--on_nonfinite skip" in done.stderr
    assert checkpoint.load(command.directory / "out" / "ckpt.pth")["step"] == 4


def test_too_many_bad_steps_in_a_row_end_the_run(
    command: Any, around_step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step from the sixth on is bad; the checkpoint of step 8 would hold nothing new and is still sound."""

    def corrupt(trainer: Trainer, step: int) -> None:
        if step >= BAD_STEP:
            optimizer = next(iter(trainer._parts.stepper.optimizers.members.values()))
            optimizer.state[trainer._parts.stepper._parameters[0]]["exp_avg_sq"].fill_(math.inf)

    around_step(corrupt)
    done = command.call(*TWICE, "--max_bad_steps", "2")
    assert done.returncode == 1 and "2 steps in a row" in done.stderr and "Traceback" not in done.stderr
    assert [row["step"] for row in command.rows()] == [1, 2, 3, 4, 5, 6, 7]
    assert checkpoint.load(command.directory / "out" / "ckpt.pth")["step"] == 4


def test_no_bad_step_pushes_a_good_checkpoint_out(
    command: Any, around_step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saved at every step and only the newest kept: steps 6 to 8 are bad, so that 5 stays until 9 is good."""

    kept = {}

    def corrupt(trainer: Trainer, step: int) -> None:
        trainer._saver.wait()
        kept[step] = checkpoint.saved_steps(command.directory / "out")
        if BAD_STEP <= step < BAD_STEP + 3:
            optimizer = next(iter(trainer._parts.stepper.optimizers.members.values()))
            optimizer.state[trainer._parts.stepper._parameters[0]]["exp_avg_sq"].fill_(math.inf)

    around_step(corrupt)
    every = ("--save_interval", "1", "--keep_last", "1", "--keep_best", "false")
    assert command.call(*TWICE, *every).returncode == 0
    assert [kept[step] for step in (5, 6, 7, 8, 9)] == [[4], [5], [5], [5], [5]]
    assert checkpoint.saved_steps(command.directory / "out") == [9]


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize("broken", ["weights", "moments"])
def test_a_run_that_ends_amid_bad_steps_keeps_its_last_good_checkpoint(
    command: Any, around_step: Any, broken: str, stopped: bool
) -> None:
    """Bad from step 6 on, ended by a signal before step 8 or by the end of the run: broken weights are not saved."""

    def corrupt(trainer: Trainer, step: int) -> None:
        if step >= BAD_STEP:
            weight = trainer._parts.stepper._parameters[0]
            optimizer = next(iter(trainer._parts.stepper.optimizers.members.values()))
            with torch.no_grad():
                (weight if broken == "weights" else optimizer.state[weight]["exp_avg_sq"])[1].fill_(math.nan)
        if stopped and step == BAD_STEP + 2:
            signal.raise_signal(signal.SIGTERM)

    around_step(corrupt)
    out, last = command.directory / "out", BAD_STEP + 1 if stopped else 9
    done = command.call(*TWICE, "--save_interval", "1", "--keep_last", "1", "--keep_best", "false")
    assert "Traceback" not in done.stderr and "resume" in done.stderr + done.stdout
    if broken == "weights":
        assert done.returncode == (75 if stopped else 1)
        assert checkpoint.saved_steps(out) == [5] and not (out / "final").exists()
    else:
        assert done.returncode == (75 if stopped else 0)
        assert checkpoint.saved_steps(out) == [5, last] and (out / "final").exists() is not stopped
    newest = checkpoint.load(out / "ckpt.pth")
    assert newest["step"] == (5 if broken == "weights" else last)
    assert all(bool(weight.isfinite().all()) for weight in newest["model"].values())


def test_a_loss_spike_is_noted_with_its_documents_and_again_after_a_resume(
    command: Any, around_step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At step 27 the loss of the first microstep is 9 nats a token higher; killed after step 30, the spike is found
    once in spikes.jsonl, as in a run that was not."""
    now: dict[str, int] = {"step": 0, "calls": 0}
    around_step(lambda trainer, step: now.update(step=step, calls=0))
    forward = CausalLoss.forward

    def planted(self: CausalLoss, **tensors: Any) -> Any:
        loss = forward(self, **tensors)
        now["calls"] += self.training
        return loss + 9 * tensors["targets"].numel() if now["step"] == 27 and now["calls"] == 1 else loss

    monkeypatch.setattr(CausalLoss, "forward", planted)
    arguments = (*TWICE, "--max_steps", "33", "--save_interval", "25")
    assert command.call(*arguments, "--out_dir", "whole").returncode == 0
    die_at(monkeypatch, 30)
    assert command.call(*arguments, "--out_dir", "cut").returncode == 1
    monkeypatch.delenv("MATECONV_FAILPOINT")
    done = command.call(*arguments, "--out_dir", "cut", "--resume")
    assert done.returncode == 0 and "step 27: loss" in done.stderr and "expected (samples 156 to 158" in done.stderr
    whole, cut = ((command.directory / name / "spikes.jsonl").read_text() for name in ("whole", "cut"))
    assert whole == cut
    (record,) = [json.loads(line) for line in whole.splitlines()]
    assert record["step"] == 27 and record["samples"] == [156, 161] and record["suspects"] == [[156, 158]]
    assert 3.5 < record["loss"] - record["expected"] < 5.5
    quiet = command.call(*arguments, "--out_dir", "quiet", "--spike_threshold", "null")
    assert quiet.returncode == 0 and not (command.directory / "quiet" / "spikes.jsonl").exists()


def test_memory_that_runs_out_halves_the_microbatch_and_the_samples_stay(
    command: Any, around_step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From step 6 on, more than two sequences do not fit. The run is that of a resume with a microbatch of 2."""
    arguments = ("--batch_size", "4", "--max_steps", "9", "--preflight", "false", "--save_interval", "5")
    die_at(monkeypatch, 6)
    assert command.call(*arguments, "--out_dir", "plain").returncode == 1
    monkeypatch.delenv("MATECONV_FAILPOINT")
    by_hand = ("--batch_size", "2", "--accumulation_steps", "2", "--resume")
    assert command.call(*arguments, "--out_dir", "plain", *by_hand).returncode == 0

    step = [0]
    shapes: Counter[int] = Counter()
    around_step(lambda trainer, number: step.__setitem__(0, number))
    forward = CausalLoss.forward

    def limited(self: CausalLoss, inputs: torch.Tensor, **tensors: Any) -> Any:
        if self.training and step[0] >= 6:
            shapes[len(inputs)] += 1
            if len(inputs) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(self, inputs, **tensors)

    monkeypatch.setattr(CausalLoss, "forward", limited)
    done = command.call(*arguments)
    assert done.returncode == 0, done.stderr
    assert "memory ran out at step 6 with 4 sequences at a time" in done.stderr and "2 microsteps" in done.stderr
    assert shapes == {4: 1, 2: 8}
    saved = checkpoint.load(command.directory / "out" / "ckpt.pth")
    assert saved["state"]["microbatch"] == 2 and saved["sample"] == 36
    assert command.rows() == command.rows("plain")
    # A resume goes on with what was found, and does not run out of memory again.
    shapes.clear()
    assert command.call(*arguments, "--resume", "--max_steps", "11").returncode == 0
    assert shapes == {2: 4}


def test_a_validation_that_does_not_fit_takes_fewer_rows(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than two rows do not fit where nothing is trained; the values are those of a run that validates by twos."""
    assert command.call("--out_dir", "plain", "--batch_size", "4", "--max_steps", "6").returncode == 0
    forward = CausalLoss.forward
    sizes: Counter[int] = Counter()

    def limited(self: CausalLoss, inputs: torch.Tensor, **tensors: Any) -> Any:
        sizes[len(inputs)] += not self.training
        if not self.training and len(inputs) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(self, inputs, **tensors)

    monkeypatch.setattr(CausalLoss, "forward", limited)
    done = command.call("--batch_size", "4", "--max_steps", "6", "--preflight", "false")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("memory ran out in a validation with 4 sequences at a time") == 1
    assert sizes[4] == 1 and sizes[2] > 2
    for row, expected in zip(command.rows(), command.rows("plain"), strict=True):
        assert row.get("val_loss", 0) == pytest.approx(expected.get("val_loss", 0), rel=1e-5)
        assert row["loss"] == expected["loss"]


def test_a_single_sequence_that_does_not_fit_ends_the_run_with_advice(
    command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(self: CausalLoss, **tensors: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(CausalLoss, "forward", never)
    done = command.call("--preflight", "false")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "single sequence" in done.stderr and "--max_seq_len" in done.stderr
