"""The time a run has trained, in its state, the same on every rank."""

from __future__ import annotations

from time import monotonic

from training.devices.distributed import World
from training.state import RunState


class Stopwatch:
    """Adds the seconds since it was made to `state.elapsed`.

    Where the run's length hangs on them (`agree`), rank 0's count, so that every rank takes the same learning rate
    and leaves the loop with the same step.
    """

    def __init__(self, state: RunState, world: World, agree: bool) -> None:
        self._state, self._world, self._agree = state, world, agree
        self._last = monotonic()

    def tick(self) -> None:
        """Count up to now; every rank calls it at the same points."""
        now = monotonic()
        passed, self._last = now - self._last, now
        if self._agree and self._world.size > 1:
            microseconds = round(passed * 1e6) if self._world.is_main else 0
            passed = self._world.total([microseconds])[0] / 1e6
        self._state.elapsed += passed
