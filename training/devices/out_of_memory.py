"""Memory that ran out: how to recognize it, and the plan that needs less of it for the same samples."""

from __future__ import annotations

import gc

import torch

from training.batching.batches import BatchPlan

_OTHER_WORDS = ("out of memory", "can't allocate memory", "not enough memory")  # MPS; the CPU's allocator


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that a device's memory did not suffice."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OTHER_WORDS)


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
