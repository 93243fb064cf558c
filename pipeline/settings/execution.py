"""How the work is carried out. Nothing here changes a dataset's bytes."""

from __future__ import annotations

import os
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from pipeline.settings.base import Settings


class ExecutionSettings(Settings):
    """Processes and machines."""

    NEUTRAL: ClassVar[frozenset[str]] = frozenset(
        {"workers", "executor", "ray_address", "task_slice", "work_directory"}
    )

    workers: int | None = Field(None, ge=1, description="worker processes; null takes one per CPU")
    executor: Literal["local", "ray"] = Field(
        "local", description="who runs the map tasks: local processes, or Ray (pip install 'mateconv[ray]')"
    )
    ray_address: str | None = Field(
        None, description="Ray cluster to use: ray://HOST:10001, HOST:6379 or auto; null starts one on this machine"
    )
    task_slice: str | None = Field(
        None, description="map only the share 3 of 16 (written 3/16) of the tasks and publish nothing;"
        " when all shares are done, the same command without it, with --resume, publishes",
    )  # fmt: skip
    work_directory: str | None = Field(
        None, description="where parts and journal are kept: a directory or a URL (s3://bucket/work);"
        " null takes .work beside a local output, else the user's cache directory",
    )  # fmt: skip

    @field_validator("task_slice")
    @classmethod
    def _is_a_share(cls, value: str | None) -> str | None:
        if value is not None:
            number, slash, count = value.partition("/")
            if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
                raise ValueError("write it as 3/16: the third of sixteen shares, counted from 1")
        return value

    def share(self) -> tuple[int, int] | None:
        """The share of the tasks to map, counted from 0, and the number of shares; None for all."""
        if self.task_slice is None:
            return None
        number, _, count = self.task_slice.partition("/")
        return int(number) - 1, int(count)

    def worker_count(self) -> int:
        """Worker processes to use."""
        return self.workers or available_cpus()


def available_cpus() -> int:
    """CPUs this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
