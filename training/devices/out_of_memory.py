"""Memory that ran out: noticed, told in a line, and given back."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from foundation.device import is_out_of_memory
from foundation.errors import first_line
from training.devices.host_memory import give_back_freed_memory

__all__ = ["is_out_of_memory", "release", "unless_memory_runs_out"]
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


def release() -> None:
    """Give the memory of freed tensors back to device and system. Call it when nothing refers to a failed step any
    more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
    give_back_freed_memory()
