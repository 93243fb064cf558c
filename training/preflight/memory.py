"""Memory of a training step: what a step with so many sequences needs."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from training.batching.batches import Microbatch
from training.config import TrainingConfig
from training.devices.distributed import local_part
from training.devices.free_memory import resident
from training.devices.out_of_memory import release, unless_memory_runs_out
from training.devices.strategy import Strategy
from training.optimization.optimizers import Optimizers
from training.saving.snapshot import Snapshot

RESERVE = 0.08
"""Share of the memory that a plan leaves free: allocators lose some to gaps, and other programs grow."""
WORKSPACE = 2.0
"""On a CPU, resident memory of the forward and backward pass over the bytes that autograd keeps: gradients of
activations, buffers of the matrix products and gaps of the allocator come on top. Seen: 1.3 to 1.6, and 0.1 to 0.2 GB
more with several microsteps (7 and 15 million parameters, both number formats)."""
RECOMPUTING = 6.0, 2.5
"""The same with activation checkpointing: over the bytes kept, around which blocks that come and go leave gaps, and
over those of the one block that is there again. Seen: 6.2, and 1.3 to 2.2 (4 to 12 layers of 256 and 512, both number
formats)."""
STATE_BYTES = 8  # Adam's two moments of a weight in float32; no optimizer here keeps more


@dataclass(frozen=True)
class StepMemory:
    """Bytes of a process: `fixed` + microbatch * `per_sequence`, but at least `least`. More than `most` sequences do
    not fit, whatever the figures say."""

    fixed: float
    per_sequence: float
    least: float = 0.0
    most: int = sys.maxsize

    def need(self, microbatch: int) -> int:
        """Bytes with this microbatch."""
        return int(max(self.least, self.fixed + microbatch * self.per_sequence))

    def largest(self, sizes: list[int], budget: float) -> int | None:
        """The largest of the ascending `sizes` whose need is within `budget`; None when none is."""
        return max((size for size in sizes if size <= self.most and self.need(size) <= budget), default=None)

    def and_also(self, bytes_beside: float) -> StepMemory:
        """The same with so many bytes more."""
        return replace(self, fixed=self.fixed + bytes_beside, least=self.least + bytes_beside)


def step_memory(
    snapshot: Snapshot, training: TrainingConfig, batch_of: Callable[[int], Microbatch], share: int
) -> StepMemory:
    """What a step of the run needs whose module is not yet spread, from passes over few sequences.

    `batch_of(n)` gives a microbatch of n sequences, of which a process has `share` in a step. On CUDA the allocator's
    peak is read. Elsewhere the bytes that autograd keeps are counted, which depends on nothing but shapes. Leaves no
    gradients behind. An out-of-memory error where not even one sequence fits.
    """
    module, strategy, precision = snapshot.module, snapshot.strategy, snapshot.precision
    device, missing = precision.device, missing_bytes(snapshot, training)

    def forward(count: int) -> torch.Tensor:
        with precision.autocast():
            loss: torch.Tensor = module(**batch_of(count).to(device)).sum()
        return loss

    if device.type == "cuda":
        try:
            return _Peaks(module, strategy, device, forward).line(share).and_also(missing)
        finally:
            module.zero_grad(set_to_none=True)
    one, sequence = _kept_by(module, forward, share)
    beside = missing + _present(device) + 4 * _moved(snapshot.optimizers)
    return StepMemory(WORKSPACE * (one - sequence), _workspace(snapshot, forward, share, sequence)).and_also(beside)


def missing_moments(optimizers: Optimizers) -> int:
    """Bytes of the optimizers' moments that are still to be made: all before the first step, none in a resume."""
    states = (state for member in optimizers.members.values() for state in member.state.values())
    held = (local_part(value) for state in states for value in state.values() if isinstance(value, torch.Tensor))
    return max(0, STATE_BYTES * _moved(optimizers) - sum(moment.nbytes for moment in held))


def missing_bytes(snapshot: Snapshot, training: TrainingConfig) -> int:
    """Bytes that a run takes sooner or later and does not hold yet, gradients aside.

    They are moments, what sums over ranks need, and on a CPU the copy of everything that the checkpoint's writer holds.
    The average of the weights is there already.
    """
    weights = sum(local_part(parameter).numel() for parameter in snapshot.module.parameters())
    copy = 0
    if training.async_save and snapshot.precision.device.type == "cpu":
        copy = 4 * weights * (2 if snapshot.average else 1) + STATE_BYTES * _moved(snapshot.optimizers)
    return missing_moments(snapshot.optimizers) + snapshot.strategy.bucket_bytes * _moved(snapshot.optimizers) + copy


def _moved(optimizers: Optimizers) -> int:
    """How many weights have moments: this rank's, and not the frozen ones."""
    return sum(local_part(parameter).numel() for group in optimizers.groups() for parameter in group["params"])


def _present(device: torch.device) -> int:
    """Bytes that are there before the step."""
    release()  # what a checkpoint took that was read, for one
    return int(torch.mps.current_allocated_memory()) if device.type == "mps" else resident()


class _Peaks:
    """The most that the allocator of a GPU had given out, in passes over so many sequences.

    A pass has two high points: its activations, and at its end the gradients of the largest weights. Where few
    sequences go through the model the second is the higher one, and hides what a sequence costs. So gradients lie there
    already, as in every microstep of a step but the first, and the line is drawn where activations are the larger part.
    """

    def __init__(
        self, module: nn.Module, strategy: Strategy, device: torch.device, forward: Callable[[int], torch.Tensor]
    ) -> None:
        self._module, self._strategy, self._device, self._forward = module, strategy, device, forward

    def line(self, share: int) -> StepMemory:
        """Bytes by sequences, of which there are `share` at most."""
        self._peak(1)  # from here on there are gradients
        most = share if share > 1 and self._unless_too_many(2) is not None else 1
        few, slope = min(self._enough(), most // 2) if most > 1 else 0, 0.0
        while few:
            low = self._unless_too_many(few)
            high = None if low is None else self._unless_too_many(2 * few)
            if low is not None and high is not None:
                slope = max(0.0, high - low) / few
                break
            most = few - 1 if low is None else 2 * few - 1
            few = most // 2
        few, least = max(1, few), self._peak(1)
        # The last microstep sums over ranks; sharded weights lose their whole gradients in it.
        return StepMemory(self._peak(few, last=True) - few * slope, slope, least, max(1, most))

    def _enough(self) -> int:
        """So many sequences that what they keep for the backward pass is more than what the end of that pass takes:
        the gradients of the largest weight, twice where it is tied."""
        kept = self._held(2) - self._held(1)
        if not self._strategy.whole_model:  # all pass over the same numbers of sequences, or wait for ever
            kept = self._strategy.world.total([kept])[0] // self._strategy.world.size
        largest = 4 * max(parameter.numel() for parameter in self._module.parameters())
        return math.ceil(2 * largest / max(1, kept))

    def _held(self, count: int) -> int:
        """Bytes between the forward pass and the backward pass."""
        with self._strategy.microstep(self._module, last=False):
            loss = self._forward(count)
            held = torch.cuda.memory_allocated(self._device)
            loss.backward()
        return held

    def _peak(self, count: int, last: bool = False) -> int:
        torch.cuda.reset_peak_memory_stats(self._device)
        with self._strategy.microstep(self._module, last):
            self._forward(count).backward()
        return torch.cuda.max_memory_allocated(self._device)

    def _unless_too_many(self, count: int) -> int | None:
        """The peak; None where so many do not fit. Other ranks that wait for parts of this one's weights would wait for
        ever: there it ends the run."""
        if not self._strategy.whole_model:
            return self._peak(count)
        peak, _ = unless_memory_runs_out(lambda: self._peak(count))
        return peak


def _workspace(snapshot: Snapshot, forward: Callable[[int], torch.Tensor], share: int, kept: int) -> float:
    """Resident bytes of a sequence of which the forward pass keeps `kept`."""
    model = snapshot.model
    if not model.recompute:
        return WORKSPACE * kept
    model.recompute = False
    try:
        _, whole = _kept_by(snapshot.module, forward, share)
    finally:
        model.recompute = True
    block = max(0, whole - kept) / model.config.num_hidden_layers
    return RECOMPUTING[0] * kept + RECOMPUTING[1] * block


def _kept_by(module: nn.Module, forward: Callable[[int], torch.Tensor], share: int) -> tuple[int, int]:
    """Bytes that the forward pass over one sequence keeps for the backward pass, and how many of them a further one
    adds; all of them where there is no further one."""
    one = _kept(module, forward, 1)
    return one, max(0, _kept(module, forward, 2) - one) if share > 1 else one


def _kept(module: nn.Module, forward: Callable[[int], torch.Tensor], count: int) -> int:
    """Bytes that the forward pass over `count` sequences keeps for the backward pass."""
    weights = {local_part(parameter).untyped_storage().data_ptr() for parameter in module.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = forward(count)
    del loss
    return sum(kept.values())
