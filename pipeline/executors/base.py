"""What every executor offers: run map tasks wherever it does, and say what they came to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.map_task import MapSetup
from pipeline.sources.base import Task

ATTEMPTS = 3
"""How often a task is tried before it is reported."""


@dataclass
class Outcome:
    """What a run of tasks came to, besides the parts it committed."""

    mismatch: str | None = None
    changed: set[str] = field(default_factory=set)
    failed: list[tuple[Task, str]] = field(default_factory=list)


class Executor(Protocol):
    """Runs map tasks. A context manager: leaving it ends what it started."""

    def run(
        self,
        setup: MapSetup,
        tasks: list[Task],
        done: Callable[[Task], None],
        progress: Callable[[int], object],
    ) -> Outcome:
        """Map all `tasks`, once. `done(task)` is called in this process for every committed part, `progress(bytes)` as
        input is read. Stops early only at an audit mismatch or an error of the operating system (raised)."""
        ...

    def stop(self) -> None:
        """End everything that runs."""
        ...
