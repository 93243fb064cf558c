"""How much memory this process may take: what its device has left, at most the budget it was given."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import torch


def memory_limit(device: torch.device, budget: int | None) -> int:
    """Bytes this process may take on `device`: those it has and those that are free, but at most `budget`."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        limit = free + torch.cuda.memory_reserved(device)
    elif device.type == "mps":
        limit = torch.mps.recommended_max_memory()
    else:
        sharing = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun's processes on this machine
        limit = min(_free_in_machine(), _free_in_container()) // sharing + resident()
    return limit if budget is None else min(limit, budget)


def hold_to(budget: int | None, device: torch.device) -> None:
    """Let torch take at most `budget` bytes of a GPU: what a smaller one would not hold runs out of memory here too."""
    if device.type == "cuda":
        whole = torch.cuda.get_device_properties(device).total_memory
        share = 1.0 if budget is None else min(1.0, budget / whole)
        torch.cuda.set_per_process_memory_fraction(share, device.index)


def resident() -> int:
    """Bytes of this process in the machine's memory."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def _free_in_machine() -> int:
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("MemAvailable"))) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2  # no answer here: half of what is built in


def _free_in_container() -> int:
    """What the control group leaves (version 2, then 1); a huge number where there is none."""
    for limit, usage in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError):
            group = Path("/sys/fs/cgroup")
            return int((group / limit).read_text()) - int((group / usage).read_text())
    return 2**62
