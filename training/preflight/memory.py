"""Memory of a training step: what a step with so many sequences needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from training.batching.batches import Microbatch
from training.config import TrainingConfig
from training.devices.distributed import local_part
from training.devices.free_memory import resident
from training.devices.precision import Precision

RESERVE = 0.08
"""Share of the memory that a plan leaves free: allocators lose some to gaps, and other programs grow."""
WORKSPACE = 2.0
"""On a CPU, resident memory of the forward and backward pass over the bytes that autograd keeps: gradients of
activations, buffers of the matrix products and gaps of the allocator come on top. Seen: 1.3 to 1.6, and 0.1 to 0.2 GB
more with several microsteps (7 and 15 million parameters, both number formats)."""
STATE_BYTES = 8  # Adam's two moments of a weight in float32; no optimizer here keeps more


@dataclass(frozen=True)
class StepMemory:
    """Bytes of a process: `fixed` + microbatch * `per_sequence`."""

    fixed: float
    per_sequence: float

    def need(self, microbatch: int) -> int:
        """Bytes with this microbatch."""
        return int(self.fixed + microbatch * self.per_sequence)

    def largest(self, sizes: list[int], budget: float) -> int | None:
        """The largest of the ascending `sizes` whose need is within `budget`; None when none is."""
        return max((size for size in sizes if self.need(size) <= budget), default=None)


def step_memory(
    module: nn.Module, precision: Precision, batch_of: Callable[[int], Microbatch], more: int
) -> StepMemory:
    """What a step of `module` (a task's LossModule, not yet wrapped) needs, from its passes over one and two sequences.

    `batch_of(n)` gives a microbatch of n sequences, `more` the bytes a weight that the run keeps beside weights,
    gradients and moments (see `more_bytes`). On CUDA the allocator's peak is read. Elsewhere the bytes that autograd
    keeps are counted, which depends on nothing but shapes. Leaves no gradients behind.
    """
    measure = _peak if precision.device.type == "cuda" else _kept
    one, two = (measure(module, precision, batch_of(count)) for count in (1, 2))
    slope = max(0.0, two - one)
    weights = sum(local_part(p).numel() for p in module.parameters())
    state = weights * (STATE_BYTES + more)
    return StepMemory(one - slope + state + _present(precision.device, weights), slope)


def more_bytes(training: TrainingConfig, device: torch.device) -> int:
    """Bytes a weight on `device` beside weight, gradient and moments: the average, and on a CPU the copy of everything
    that the checkpoint's writer holds."""
    average = 4 * training.use_ema
    copy = 4 + STATE_BYTES + average if training.async_save and device.type == "cpu" else 0
    return average + copy


def _present(device: torch.device, weights: int) -> int:
    """Bytes that are there before the step. On a CPU gradients are not part of what was counted."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return int(torch.mps.current_allocated_memory()) + 4 * weights
    return resident() + 4 * weights


def _pass(module: nn.Module, precision: Precision, batch: Microbatch) -> torch.Tensor:
    with precision.autocast():
        loss: torch.Tensor = module(**batch.to(precision.device)).sum()
    return loss


def _peak(module: nn.Module, precision: Precision, batch: Microbatch) -> float:
    """Bytes that forward and backward take at most, gradients included (CUDA)."""
    before = torch.cuda.memory_allocated(precision.device)
    torch.cuda.reset_peak_memory_stats(precision.device)
    _pass(module, precision, batch).backward()
    peak = torch.cuda.max_memory_allocated(precision.device) - before
    module.zero_grad(set_to_none=True)
    return peak


def _kept(module: nn.Module, precision: Precision, batch: Microbatch) -> float:
    """Bytes that the forward pass keeps for the backward pass, with the workspace that comes on top."""
    weights = {local_part(parameter).untyped_storage().data_ptr() for parameter in module.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = _pass(module, precision, batch)
    del loss
    return WORKSPACE * sum(kept.values())
