"""The CUDA paths of training: autocast, fused optimizer, pinned copies, compiled step. Run where a GPU is present."""

from __future__ import annotations

import math

import pytest
import torch

from training.devices.distributed import World
from training.optimization.optimizers import Optimizers
from training.saving.host_copy import HostCopy
from training.tasks.causal import CausalLoss
from training.watching.moments import Moments

from .conftest import Command

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_trains_and_resumes(command: Command, dtype: str) -> None:
    options = ["--device", "cuda", "--dtype", dtype, "--max_steps", "40", "--accumulation_steps", "2"]
    half = command.run(*options[:4], "--max_steps", "20", "--accumulation_steps", "2")
    assert half.returncode == 0, half.stderr
    whole = command.run(*options, "--resume")
    assert whole.returncode == 0, whole.stderr
    rows = command.rows()
    assert [row["step"] for row in rows] == list(range(1, 41))
    losses = [row["loss"] for row in rows if not row.get("skipped")]
    assert all(map(math.isfinite, losses)) and sum(losses[-5:]) < sum(losses[:5])


def test_float32_on_the_gpu_agrees_with_the_cpu(command: Command) -> None:
    assert command.run("--out_dir", "cpu").returncode == 0
    assert command.run("--out_dir", "gpu", "--device", "cuda", "--tf32", "false").returncode == 0
    for cpu, gpu in zip(command.rows("cpu"), command.rows("gpu"), strict=True):
        assert gpu["loss"] == pytest.approx(cpu["loss"], abs=2e-3)


def test_documents_in_half_precision_agree_with_the_cpu(command: Command) -> None:
    """Variable-length flash attention on the GPU, a mask on the CPU."""
    for packing in ("concat", "best_fit"):
        losses = {}
        for device in ("cpu", "cuda"):
            options = ["--packing", packing, "--dtype", "bfloat16", "--device", device, "--out_dir", packing + device]
            done = command.run(*options)
            assert done.returncode == 0, done.stderr
            losses[device] = [row["loss"] for row in command.rows(packing + device)]
        assert losses["cuda"] == pytest.approx(losses["cpu"], abs=5e-2)


def test_compiled_agrees_with_eager(command: Command) -> None:
    assert command.run("--out_dir", "eager", "--device", "cuda").returncode == 0
    compiled = command.run("--out_dir", "compiled", "--device", "cuda", "--compile", "true")
    assert compiled.returncode == 0, compiled.stderr
    for one, other in zip(command.rows("eager"), command.rows("compiled"), strict=True):
        assert other["loss"] == pytest.approx(one["loss"], abs=2e-3)


def test_ddp_over_nccl(command: Command) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=1"]
    result = command.run("--ddp", "--device", "cuda", launcher=launcher)
    assert result.returncode == 0, result.stderr
    assert len(command.rows()) == 12


def test_a_copy_for_the_writer_is_whole_and_pinned() -> None:
    weight = torch.arange(7919.0, device="cuda")
    live = {"w": weight, "tied": weight, "step": torch.tensor(3.0)}
    copied = HostCopy().take(live)
    weight += 1  # the run goes on at once
    assert copied["w"].is_pinned() and copied["w"].device.type == "cpu" and copied["tied"] is copied["w"]
    torch.testing.assert_close(copied["w"], torch.arange(7919.0), rtol=0, atol=0)


def count(moments: Moments) -> int:
    broken = moments.broken()
    assert broken is not None
    return int(broken)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_broken_moment_is_found(value: float) -> None:
    model = torch.nn.Linear(31, 17).to("cuda")
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    model(torch.randn(3, 31, device="cuda")).sum().backward()
    optimizer.step()
    moments = Moments(model, Optimizers({"adamw": optimizer}), World())
    assert count(moments) == 0
    optimizer.state[model.weight]["exp_avg"][5, 7] = value
    assert count(moments) == 1 and moments.repair() == ["weight"] and count(moments) == 0


def test_memory_that_really_runs_out_is_answered(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A microbatch of more than two sequences asks for more than the device has."""
    forward = CausalLoss.forward

    def greedy(self: CausalLoss, inputs: torch.Tensor, **tensors: torch.Tensor) -> object:
        if self.training and len(inputs) > 2:
            torch.empty(2**50, dtype=torch.uint8, device=inputs.device)
        return forward(self, inputs, **tensors)

    monkeypatch.setattr(CausalLoss, "forward", greedy)
    done = command.call("--device", "cuda", "--batch_size", "4", "--preflight", "false")
    assert done.returncode == 0 and "memory ran out at step 1 with 4 sequences" in done.stderr
    assert [row["step"] for row in command.rows()] == list(range(1, 13))
