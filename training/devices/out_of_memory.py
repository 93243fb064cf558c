"""Memory that ran out: the plan that needs less of it for the same samples."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from foundation.device import is_out_of_memory
from foundation.errors import first_line
from training.batching.batches import BatchPlan
from training.devices.host_memory import give_back_freed_memory

__all__ = ["is_out_of_memory", "release", "smaller", "smaller_sizes", "unless_memory_runs_out", "with_size"]
T = TypeVar("T")


def unless_memory_runs_out(work: Callable[[], T]) -> tuple[T | None, str | None]:
    """What `work` gives and None; or None and the reason in a line, where memory runs out in it. What it took is given
    back then."""
    try:
        return work(), None
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        reason = first_line(error)
    release()  # not in the handler, where the error still holds on to all that failed
    return None, reason


def smaller(plan: BatchPlan) -> BatchPlan | None:
    """The same samples a step in microbatches of at most half the size; None when they hold one sample already."""
    size = max((size for size in smaller_sizes(plan) if size <= plan.batch_size // 2), default=None)
    return with_size(plan, size) if size else None


def smaller_sizes(plan: BatchPlan) -> list[int]:
    """The smaller microbatches that the same samples can be cut into, ascending."""
    share = plan.batch_size * plan.accumulation_steps
    return [size for size in range(1, plan.batch_size) if share % size == 0]


def with_size(plan: BatchPlan, size: int) -> BatchPlan:
    """The same samples a step in microbatches of `size`."""
    return BatchPlan(size, plan.batch_size * plan.accumulation_steps // size, plan.ranks, plan.rank)


def release() -> None:
    """Give the memory of freed tensors back to device and system. Call it when nothing refers to a failed step any
    more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
    give_back_freed_memory()
