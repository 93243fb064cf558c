"""The seconds that each step of a run took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Adds up the seconds of steps by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Count the block as `step`, if it ends well."""
        started = time.perf_counter()
        yield
        self.add(step, time.perf_counter() - started)

    def add(self, step: str, seconds: float) -> None:
        """Count seconds that were measured elsewhere."""
        self.seconds[step] = self.seconds.get(step, 0.0) + seconds
