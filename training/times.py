"""Where the time of a run goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Times:
    """Seconds of wall time by part: `steps`, `validation`, `samples`, `saving`, …"""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def add(self, part: str, seconds: float) -> None:
        """`part` took `seconds` more."""
        self.seconds[part] = self.seconds.get(part, 0.0) + seconds

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What the block takes belongs to `name`, also when it ends in an error."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - began)

    def rounded(self) -> dict[str, float]:
        """The seconds so far, to the millisecond."""
        return {name: round(value, 3) for name, value in self.seconds.items()}
