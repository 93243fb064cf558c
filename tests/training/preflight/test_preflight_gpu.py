"""The preflight on CUDA: the allocator's peak predicts a step, and the trial step leaves no trace. Run with a GPU."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from model.config import ModelConfig
from model.decoder import Decoder
from training.batching.batches import Microbatch
from training.config import TrainingConfig
from training.devices.distributed import World
from training.devices.free_memory import hold_to, memory_limit
from training.devices.precision import Precision
from training.devices.strategy import Strategy
from training.optimization.optimizer import build_optimizers
from training.preflight.memory import StepMemory, step_memory
from training.saving import checkpoint
from training.tasks.causal import CausalLoss, next_tokens

pytestmark = pytest.mark.gpu


def batch_of(length: int) -> Callable[[int], Microbatch]:
    def batch(count: int) -> Microbatch:
        tokens = torch.arange(count * length).reshape(count, length) % 4000
        return next_tokens(tokens, tokens, count * length)

    return batch


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_predicted_memory_is_that_of_a_step(dtype: torch.dtype) -> None:
    device = torch.device("cuda")
    module = CausalLoss(Decoder(ModelConfig(hidden_size=256, num_hidden_layers=6), 4000)).to(device)
    precision = Precision(device, dtype)
    training = TrainingConfig()
    optimizers = build_optimizers(module, training, device)
    run: Any = SimpleNamespace(
        module=module, strategy=Strategy(World(), device), precision=precision, optimizers=optimizers, average=None
    )
    predicted: StepMemory = step_memory(run, training, batch_of(256), 24)
    assert all(parameter.grad is None for parameter in module.parameters())
    torch.cuda.reset_peak_memory_stats(device)
    for _ in range(2):
        for _ in range(2):  # microsteps
            with precision.autocast():
                loss = module(**batch_of(256)(24).to(device)).sum()
            loss.backward()
        optimizers.step(precision.scaler)
        optimizers.zero_grad()
    actual = torch.cuda.max_memory_allocated(device)
    assert 0.9 < actual / predicted.need(24) < 1.05
    assert memory_limit(device, None) > 2 * actual


def test_a_budget_is_all_that_torch_gets() -> None:
    device = torch.device("cuda", 0)
    torch.cuda.empty_cache()
    hold_to(2**28, device)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(2**29, dtype=torch.uint8, device=device)
    finally:
        hold_to(None, device)
    assert torch.empty(2**29, dtype=torch.uint8, device=device).numel() == 2**29


def test_an_automatic_batch_trains_and_is_kept(command: Any) -> None:
    flags = ("--device", "cuda", "--batch_size", "auto", "--global_batch_size", "12")
    done = command.run(*flags)
    assert done.returncode == 0, done.stderr
    assert "batch_size auto: 12 sequences" in done.stdout and "takes about" in done.stdout
    assert checkpoint.load(command.directory / "out" / "ckpt.pth")["state"]["microbatch"] == 12
    assert command.run(*flags, "--resume", "--max_steps", "14").returncode == 0


def test_the_trial_step_leaves_no_trace_on_the_device(command: Any) -> None:
    """Float16, whose loss scale the trial may move, with dropout, whose chance is the device's own."""
    flags = ("--device", "cuda", "--dtype", "float16", "--dropout", "0.2", "--max_steps", "6")
    for out, preflight in (("with", "true"), ("without", "false")):
        assert command.run(*flags, "--out_dir", out, "--preflight", preflight).returncode == 0
    for ours, theirs in zip(command.rows("with"), command.rows("without"), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-3)
    ours, theirs = (checkpoint.load(command.directory / out / "ckpt.pth") for out in ("with", "without"))
    assert ours["scaler"] == theirs["scaler"]
