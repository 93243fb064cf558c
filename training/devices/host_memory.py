"""Memory of the host between steps: what one step frees the next one takes, without the system in between.

A step on a CPU frees and takes the same hundreds of megabytes each time. glibc maps large blocks one by one and gives
them back when they are freed, and each page of them costs a fault when it is touched again: 200,000 faults a step for
15 million parameters, a tenth of its time (eager float32, 2 cores of a virtual machine).
"""

from __future__ import annotations

import ctypes
import sys

import torch

# Parameters of mallopt(3), numbered by glibc's malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8
SETTINGS = (
    (M_MMAP_MAX, 0),  # large blocks come from the heap too
    (M_ARENA_MAX, 1),  # of which there is one
    (M_TRIM_THRESHOLD, 2**31 - 1),  # and whose end is not given back
    (M_TOP_PAD, 64 * 2**20),  # bytes by which it grows at least
)


def keep_freed_memory(device: torch.device) -> bool:
    """Keep freed memory in this process from now on, where it trains on a CPU; its size stays at its peak.

    False, and nothing is changed, where `device` has memory of its own or the C library is not glibc.
    """
    library = _glibc()
    if device.type != "cpu" or library is None:
        return False
    return all([library.mallopt(name, value) == 1 for name, value in SETTINGS])


def give_back_freed_memory() -> None:
    """Give the system what this process has freed up to now, as far as the C library is glibc."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
