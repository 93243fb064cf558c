"""`--batch_size auto`: the largest microbatch whose step fits the memory, the samples of a step staying the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from foundation.errors import UserError
from foundation.logs import get_logger
from foundation.page.wording import size
from shards.samples import Samples
from training.batching.batches import Make, Microbatch
from training.batching.split import Split
from training.config import TrainingConfig
from training.devices.distributed import World
from training.devices.free_memory import memory_limit
from training.devices.out_of_memory import unless_memory_runs_out
from training.preflight.memory import RESERVE, step_memory
from training.saving.snapshot import Snapshot

log = get_logger("training")

FOR_ONE_SEQUENCE = (
    "use --activation_checkpointing true, a smaller --max_seq_len or a smaller model, or raise --memory_budget"
)
"""What is left to do where a single sequence does not fit."""
Upcoming = Callable[[int], Microbatch]
"""Gives the next n samples of the run as one microbatch."""


def choose_microbatch(split: Split, snapshot: Snapshot, batch_of: Upcoming, training: TrainingConfig) -> int:
    """The largest of `split.sizes()` whose step is predicted to fit on every rank (see `step_memory`).

    `UserError` when not even one sequence fits: by prediction on a CPU, by its pass on CUDA. Every rank calls it.
    """
    sizes, strategy, device = split.sizes(), snapshot.strategy, snapshot.precision.device
    limit = memory_limit(device, training.memory_budget)
    memory, reason = unless_memory_runs_out(lambda: step_memory(snapshot, training, batch_of, sizes[-1]))
    if reason is not None and not strategy.whole_model:  # the others wait for parts of this one's weights
        raise UserError(f"--batch_size auto: memory ran out where its use is measured ({reason}); {FOR_ONE_SEQUENCE}")
    chosen = (memory.largest(sizes, limit * (1 - RESERVE)) if memory else None) or 0
    if memory and device.type == "cuda":
        chosen = max(chosen, 1)  # it went through the model: whether the whole step fits, the trial shows
    found = smallest_of(strategy.world, chosen)
    if not found:
        need = f"{size(memory.need(1))} of memory" if memory else "more memory than there is"
        raise UserError(
            f"--batch_size auto: a step with a single sequence takes about {need}, {size(limit)} may be used on "
            f"{device}; {FOR_ONE_SEQUENCE}"
        )
    log.info(
        "batch_size auto: %d sequences a microstep, %d microsteps, about %s of %s on %s",
        found,
        split.plan(found).accumulation_steps,
        size(memory.need(found)) if memory else "?",
        size(limit),
        device,
    )
    return found


def smallest_of(world: World, number: int) -> int:
    """The smallest `number` of all ranks; each calls it."""
    mine = [0] * world.size
    mine[world.rank] = number
    return min(world.total(mine))


def next_samples(samples: Samples, make: Make, first: int) -> Upcoming:
    """A function that gives the next n samples of the run, from number `first` on: real tokens in whole rows. `make`
    makes their tensors."""

    def batch_of(count: int) -> Microbatch:
        numbers = np.arange(first, first + count, dtype=np.int64)
        return make(samples.batch(numbers), numbers)

    return batch_of
