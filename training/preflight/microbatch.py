"""`--batch_size auto`: the largest microbatch whose step fits the memory, the samples of a step staying the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import nn

from foundation.errors import UserError
from foundation.logs import get_logger
from foundation.page.wording import size
from shards.samples import Samples
from training.batching.batches import Make, Microbatch
from training.batching.split import Split
from training.config import TrainingConfig
from training.devices.distributed import World
from training.devices.free_memory import memory_limit
from training.devices.out_of_memory import is_out_of_memory
from training.devices.precision import Precision
from training.preflight.memory import RESERVE, more_bytes, step_memory

log = get_logger("training")

Upcoming = Callable[[int], Microbatch]
"""Gives the next n samples of the run as one microbatch."""


def choose_microbatch(
    split: Split,
    module: nn.Module,
    precision: Precision,
    batch_of: Upcoming,
    world: World,
    training: TrainingConfig,
) -> int:
    """The largest of `split.divisors()` whose step is predicted to fit on every rank (see `step_memory`).

    `UserError` when not even one sequence fits. Every rank calls it.
    """
    sizes = split.divisors()
    limit = memory_limit(precision.device, training.memory_budget)
    try:
        memory = step_memory(module, precision, batch_of, more_bytes(training, precision.device))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        memory = None
    chosen = (memory.largest(sizes, limit * (1 - RESERVE)) if memory else None) or 0
    found = smallest_of(world, chosen)
    if not found:
        need = f"{size(memory.need(1))} of memory" if memory else "more memory than there is"
        raise UserError(
            f"--batch_size auto: a step with a single sequence takes about {need}, {size(limit)} may be used on "
            f"{precision.device}; lower --max_seq_len, take a smaller model, or raise --memory_budget"
        )
    log.info(
        "batch_size auto: %d sequences a microstep, %d microsteps, about %s of %s on %s",
        found,
        split.plan(found).accumulation_steps,
        size(memory.need(found)) if memory else "?",
        size(limit),
        precision.device,
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
