"""The average of the weights against its formula, at every step, in the file, in the validation and in the models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model.directory import load_model_directory
from shards.dataset import Dataset
from training.config import TrainingConfig
from training.optimization.schedule import learning_rate
from training.optimization.weight_average import WeightAverage
from training.saving import checkpoint
from training.step import Stepper, StepResult


def taken_in(old: Tensor, weights: Tensor, update: int, decay: float) -> Tensor:
    """One update by the definition, in float64; `update` counts from zero."""
    keep = min(decay, (1 + update) / (10 + update))
    return keep * old.double() + (1 - keep) * weights.double()


@pytest.mark.parametrize("decay", [0.999, 0.6, 0.0])
def test_every_update_follows_the_formula_with_its_warmup(decay: float) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7))
    average = WeightAverage(model, decay)
    expected = {name: p.detach().double() for name, p in model.named_parameters()}
    for update in range(60):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        average.update()
        for name, parameter in model.named_parameters():
            expected[name] = taken_in(expected[name], parameter.detach(), update, decay)
            torch.testing.assert_close(average.weights[name].double(), expected[name], rtol=1e-5, atol=1e-5)
    assert average.updates == 60
    last = min(decay, 60 / 69)
    assert (last < decay) == (decay == 0.999), "0.6 is reached within the warmup, 0.999 is not"


def test_an_exchange_that_runs_out_of_memory_on_its_way_has_changed_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    average = WeightAverage(model, 0.9)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(5.0)
    before = {name: weight.clone() for name, weight in average.weights.items()}
    clone, left = torch.Tensor.clone, [2]

    def short(tensor: Tensor) -> Tensor:
        left[0] -= 1
        if left[0] == -1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return clone(tensor)

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "clone", short)
        with pytest.raises(torch.OutOfMemoryError), average.in_place():
            pytest.fail("it computes with half of the average")
    assert all(bool((parameter == 5.0).all()) for parameter in model.parameters())
    assert all(torch.equal(weight, before[name]) for name, weight in average.weights.items())


def test_the_average_of_half_precision_weights_is_float32() -> None:
    model = nn.Linear(3, 2).to(torch.bfloat16)
    average = WeightAverage(model, 0.999)
    with torch.no_grad():
        model.weight.fill_(1.0)
    average.weights["weight"].fill_(1.0)
    average.updates = 10**6
    with torch.no_grad():
        model.weight.fill_(1.5)
    average.update()
    assert average.weights["weight"].dtype == torch.float32
    assert torch.allclose(average.weights["weight"], torch.tensor(1.0005), atol=1e-7), "bfloat16 would stay at 1"


def test_inside_the_exchange_the_model_holds_the_average_and_afterwards_its_own_weights() -> None:
    torch.manual_seed(2)
    model = nn.Linear(4, 3)
    average = WeightAverage(model, 0.5)
    with torch.no_grad():
        model.weight += 1
    average.update()
    own, kept = model.weight.detach().clone(), average.weights["weight"].clone()
    place = model.weight.data_ptr()
    with pytest.raises(KeyError), average.in_place():
        assert torch.equal(model.weight, kept) and model.weight.data_ptr() == place
        raise KeyError
    assert torch.equal(model.weight, own) and torch.equal(average.weights["weight"], kept)


def averages(run: Path, step: int) -> tuple[dict[str, Tensor], dict[str, Tensor], int]:
    """Weights, average and number of updates in the checkpoint of `step`."""
    content = checkpoint.load(checkpoint.step_path(run, step))
    return content["model"], content["ema"]["weights"], content["ema"]["updates"]


def test_the_runs_average_follows_the_formula_and_skipped_steps_do_not_count(
    command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TrainingConfig(learning_rate=0.01, warmup_steps=3)
    plain, bad = Stepper.run, learning_rate(1, (5 - 3) / (11 - 3), settings)

    def run(self: Stepper, batches: Any, rate: float, interrupted: Any) -> StepResult | None:
        if rate == bad:  # the gradient of step 6 is not finite
            return StepResult(loss=1.0, grad_norm=float("nan"), losses=(1.0,), tokens=51)
        return plain(self, batches, rate, interrupted)

    monkeypatch.setattr(Stepper, "run", run)
    done = command.call("--use_ema", "--ema_decay", "0.4", "--save_interval", "1", "--keep_last", "99")
    assert done.returncode == 0, done.stderr
    out = command.directory / "out"
    _, before, updates = averages(out, 1)
    for step in (2, 3, 4, 5, 7, 8, 9, 10, 11, 12):  # a bad step is not saved
        weights, after, now = averages(out, step)
        assert now == updates + 1
        for name, tensor in weights.items():
            expected = taken_in(before[name], tensor, updates, 0.4)
            torch.testing.assert_close(after[name].double(), expected, rtol=1e-5, atol=1e-7)
        before, updates = after, now
    assert now == 11


def loss_of(path: Path, dataset: Path) -> float:
    """Nats a token over the validation split, computed from a model directory with plain functions."""
    split = Dataset.open(dataset, "val")
    documents = [split.document(number).astype("int64") for number in range(split.documents)]
    tokens = torch.from_numpy(np.concatenate(documents))
    model = load_model_directory(path).model
    total = 0.0
    for start in range(0, len(tokens) - 1, 17):
        piece = tokens[start : start + 18]
        logits = model(piece[None, :-1])[0].detach().double()
        total -= float(logits.log_softmax(-1)[torch.arange(len(piece) - 1), piece[1:]].sum())
    return total / (len(tokens) - 1)


def test_it_is_validated_beside_the_weights_and_best_and_final_hold_it(command: Any, dataset: Path) -> None:
    done = command.call("--use_ema", "--document_mask", "false")
    assert done.returncode == 0, done.stderr
    out = command.directory / "out"
    validated = [row for row in command.rows() if "val_loss" in row]
    assert [row["step"] for row in validated] == [5, 10, 12]
    assert all(row["val_loss_ema"] != row["val_loss"] for row in validated)
    content = checkpoint.load(out / "ckpt.pth")
    for name in ("best", "final"):
        ours = json.loads((out / name / "config.json").read_text())["mateconv"]
        assert ours["weights"] == "ema"
        row = next(row for row in validated if row["step"] == ours["step"])
        assert loss_of(out / name, dataset) == pytest.approx(row["val_loss_ema"], rel=1e-5)
    final = load_model_directory(out / "final").model.state_dict()
    for name, tensor in content["ema"]["weights"].items():
        torch.testing.assert_close(final[name][:280], tensor[:280], rtol=0, atol=0)
    assert not torch.equal(content["model"]["model.norm.weight"], content["ema"]["weights"]["model.norm.weight"])
    assert content["best"]["val_loss"] == min(row["val_loss_ema"] for row in validated)


def test_training_is_the_same_with_and_without_it(command: Any) -> None:
    assert command.call("--out_dir", "with", "--use_ema").returncode == 0
    assert command.call("--out_dir", "without").returncode == 0
    rows = [{key: value for key, value in row.items() if key != "val_loss_ema"} for row in command.rows("with")]
    assert rows == command.rows("without")


def test_a_resumed_run_has_the_same_average_and_one_that_starts_it_late_says_so(command: Any) -> None:
    half = ("--max_steps", "6", "--lr_scheduler", "constant")
    whole = ("--max_steps", "12", "--lr_scheduler", "constant")
    assert command.call("--out_dir", "whole", "--use_ema", *whole).returncode == 0
    assert command.call("--out_dir", "cut", "--use_ema", *half).returncode == 0
    assert command.call("--out_dir", "cut", "--use_ema", "--resume", *whole).returncode == 0
    ours, theirs = (checkpoint.load(command.directory / name / "ckpt.pth")["ema"] for name in ("cut", "whole"))
    assert ours["updates"] == 12
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)

    assert command.call("--out_dir", "late", *half).returncode == 0
    refused = command.call("--out_dir", "late", "--use_ema", "--resume", *whole)
    assert refused.returncode == 2 and "use_ema: False in the checkpoint, True now" in refused.stderr
    late = command.call("--out_dir", "late", "--use_ema", "--resume", "--allow_change", "use_ema", *whole)
    assert late.returncode == 0 and "begins with those of step 6" in late.stderr
    assert checkpoint.load(command.directory / "late" / "ckpt.pth")["ema"]["updates"] == 6
