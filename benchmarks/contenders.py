"""Models with their optimizers as the benchmarks of training steps time them, and the clock for it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.train_models import Shape, build
from training.devices.compilation import compiled
from training.devices.distributed import World
from training.devices.precision import Precision
from training.devices.strategy import Strategy
from training.optimization.optimizers import Optimizers
from training.step import Stepper
from training.tasks.causal import CausalLoss, next_tokens

MODES = ("eager-float32", "eager-bfloat16", "compiled-bfloat16")
RATE, BETAS, DECAY, CLIP = 3e-4, (0.9, 0.95), 0.1, 1.0


@dataclass
class Contender:
    """A model in training. `step` takes a batch on the device and gives the loss, a scalar there."""

    name: str
    model: nn.Module
    step: Callable[..., Tensor]
    seconds: list[float] = field(default_factory=list)
    loss: float = 0.0


def contender(name: str, mode: str, shape: Shape, nanogpt: Path | None, device: torch.device) -> Contender:
    """The model called `name` (see `train_models.NAMES`): forward, backward, clipping, update."""
    model = build(name, shape, nanogpt).to(device)
    run: nn.Module = torch.compile(model, dynamic=False) if mode.startswith("compiled") else model  # type: ignore[assignment]
    optimizer, dtype = adamw(model), dtype_of(mode)
    parameters = list(model.parameters())

    def step(*batch: Tensor) -> Tensor:
        precision: AbstractContextManager[object] = (
            nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)
        )
        with precision:
            loss: Tensor = run(*batch)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return Contender(name, model, step)


def trainer(mode: str, shape: Shape, device: torch.device) -> Contender:
    """Our model in the step that `train.py` runs, which also looks at moments and gradient and waits for the loss."""
    model = build("ours", shape, None).to(device)
    decoder = model.decoder
    assert isinstance(decoder, nn.Module)
    module = compiled(CausalLoss(decoder), mode.startswith("compiled"), device)
    stepper = Stepper(
        module,
        Optimizers({"adamw": adamw(model)}),
        Precision(device, dtype_of(mode)),
        Strategy(World(), device),
        CLIP,
    )

    def step(tokens: Tensor, targets: Tensor, segments: Tensor | None = None) -> Tensor:
        result = stepper.run([next_tokens(tokens, targets, targets.numel(), segments)], RATE, lambda: False)
        assert result is not None
        return torch.tensor(result.loss)

    return Contender("train.py", model, step)


def dtype_of(mode: str) -> torch.dtype:
    """The number format of the matrix products."""
    return torch.float32 if mode.endswith("float32") else torch.bfloat16


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    """The fused optimizer that all have."""
    matrices = [parameter for parameter in model.parameters() if parameter.dim() >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() < 2]
    groups = [{"params": matrices, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=RATE, betas=BETAS, fused=True)


def random_batch(shape: Shape, rows: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Tokens and targets, (rows, length) int64 each."""
    ids = torch.randint(0, shape.vocab_size, (rows, shape.length + 1), device=device)
    return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()


def timed_steps(one: Contender, batches: Sequence[Sequence[Any]], steps: int, device: torch.device) -> list[float]:
    """Seconds of each of `steps` steps in a row: by events on a GPU, which is never waited for but at the end."""
    cuda = device.type == "cuda"
    marks: list[float] = []
    events: list[torch.cuda.Event] = []

    def mark() -> None:
        if cuda:
            events.append(torch.cuda.Event(enable_timing=True))
            events[-1].record()
        else:
            marks.append(time.perf_counter())

    wait_for(device)
    mark()
    for step in range(steps):
        loss = one.step(*batches[step % len(batches)])
        mark()
    wait_for(device)
    one.loss = loss.item()
    if cuda:
        marks = [events[0].elapsed_time(event) / 1000 for event in events]
    return [after - before for before, after in itertools.pairwise(marks)]


def wait_for(device: torch.device) -> None:
    """Wait until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
