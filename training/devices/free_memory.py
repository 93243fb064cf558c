"""How much memory this process may take: what its device has left, at most the budget it was given."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
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
    """Bytes of this process in the machine's memory that are its own: pages of files, such as a dataset that was just
    read through, are given up when memory is short."""
    pages, of_files = _pages()
    return pages - of_files


def file_pages() -> int:
    """Bytes of files that this process has mapped and that lie in the machine's memory: libraries, datasets."""
    return _pages()[1]


def _pages() -> tuple[int, int]:
    """Bytes of this process in the machine's memory, and how many of them are of files."""
    try:
        _, pages, of_files, *_ = map(int, Path("/proc/self/statm").read_text().split())
        return pages * os.sysconf("SC_PAGE_SIZE"), of_files * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0, 0


def _free_in_machine() -> int:
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("MemAvailable"))) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2  # no answer here: half of what is built in


@dataclass(frozen=True)
class _ControlGroups:
    """Where a version of control groups keeps its numbers, below /sys/fs/cgroup."""

    top: str
    limit: str
    usage: str
    prefix: str
    """Of the lines in memory.stat that count a group with all below it."""


_VERSION_2 = _ControlGroups("", "memory.max", "memory.current", "")
_VERSION_1 = _ControlGroups("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
NO_LIMIT = 2**62


def _free_in_container(root: Path = Path("/")) -> int:
    """What the control groups leave, from this process's own up to the highest that is seen (a job's step lies in the
    job's, a container's in the machine's): the least of them; a huge number where none has a limit."""
    free = NO_LIMIT
    for version, path in _own_groups(root):
        top = root / "sys/fs/cgroup" / version.top
        group = top / path.lstrip("/")  # a container may see the path of its host, and itself at the top
        while True:
            free = min(free, _free_in_group(group, version))
            if group == top:
                break
            group = group.parent
    return free


def _own_groups(root: Path) -> list[tuple[_ControlGroups, str]]:
    """The control groups of this process that count memory, with their paths."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = [line.split(":", 2) for line in lines if line.count(":") >= 2]
    return [
        (_VERSION_1 if controllers else _VERSION_2, path)
        for _, controllers, path in found
        if not controllers or "memory" in controllers.split(",")
    ]


def _free_in_group(group: Path, version: _ControlGroups) -> int:
    """Bytes until the group's limit. Pages of files count as used there, but the system gives them up when memory is
    short: all that nobody has read for a while, and half of the others, which a dataset that is being read lies in."""
    try:
        left = int((group / version.limit).read_text()) - int((group / version.usage).read_text())
    except (OSError, ValueError):  # no such group here, or "max"
        return NO_LIMIT
    counts: dict[str, int] = {}
    with contextlib.suppress(OSError, ValueError):
        for line in (group / "memory.stat").read_text().splitlines():
            name, _, number = line.partition(" ")
            counts[name] = int(number)
    inactive, active = (counts.get(f"{version.prefix}{kind}_file", 0) for kind in ("inactive", "active"))
    return max(0, left + inactive + active // 2)
