"""How the work is carried out. Nothing here changes a dataset's bytes."""

from __future__ import annotations

import os
from typing import ClassVar

from pydantic import Field

from pipeline.settings.base import Settings


class ExecutionSettings(Settings):
    """Processes and machines."""

    NEUTRAL: ClassVar[frozenset[str]] = frozenset({"workers"})

    workers: int | None = Field(None, ge=1, description="worker processes; null takes one per CPU")

    def worker_count(self) -> int:
        """Worker processes to use."""
        return self.workers or available_cpus()


def available_cpus() -> int:
    """CPUs this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
