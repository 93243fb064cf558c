"""Memory that ran out: the plan that needs less of it for the same samples."""

from __future__ import annotations

import gc

import torch

from foundation.device import is_out_of_memory
from training.batching.batches import BatchPlan

__all__ = ["is_out_of_memory", "release", "smaller"]


def smaller(plan: BatchPlan) -> BatchPlan | None:
    """The same samples a step in microbatches of at most half the size; None when they hold one sample already."""
    share = plan.batch_size * plan.accumulation_steps
    size = next((size for size in range(plan.batch_size // 2, 0, -1) if share % size == 0), None)
    return BatchPlan(size, share // size, plan.ranks, plan.rank) if size else None


def release() -> None:
    """Give the memory of freed tensors back to the device. Call it when nothing refers to the failed step any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
