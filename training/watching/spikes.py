"""Loss spikes: a step whose loss is far above what the steps before it let expect."""

from __future__ import annotations

import math
from collections.abc import MutableMapping
from dataclasses import dataclass

_MEMORY = 0.97
"""Share that the past keeps in the averages at each step: they know about 30 steps."""
_FIRST = 20
"""Steps before the averages mean anything."""
_LEAST_SPREAD = 0.01
"""A spread below this share of the loss is luck."""


@dataclass(frozen=True)
class Spike:
    """A loss, what was expected, and the usual distance from it; all in nats a token."""

    loss: float
    expected: float
    deviation: float


class SpikeDetector:
    """Compares each loss with what a moving mean and its drift let expect, and with the usual error of that. They live
    in `memory` (plain values: a checkpoint holds them, so that a resumed run sees the same spikes)."""

    def __init__(self, threshold: float | None, memory: MutableMapping[str, float]) -> None:
        """`threshold`: standard deviations above the expected loss from which on it is a spike; None: it never is."""
        self._threshold, self._memory = threshold, memory

    def see(self, loss: float) -> Spike | None:
        """Take the loss of a step; gives the spike that it is. A spike moves the averages as far as the highest loss
        that is none, so that a series of them is noticed but a new level becomes usual."""
        if not math.isfinite(loss):
            return None
        count, mean = int(self._memory.get("count", 0)), self._memory.get("mean", loss)
        drift, variance = self._memory.get("drift", 0.0), self._memory.get("variance", 0.0)
        expected = mean + drift  # the mean of a falling loss lags behind it by the drift
        deviation = max(math.sqrt(variance), _LEAST_SPREAD * abs(expected))
        spike, taken = None, loss
        if self._threshold is not None and count >= _FIRST:
            limit = expected + self._threshold * deviation
            if loss > limit:
                spike, taken = Spike(loss, expected, deviation), limit
        share = 1 - min(_MEMORY, count / (count + 1))
        self._memory.update(
            count=count + 1,
            mean=mean + share * (taken - mean),
            drift=drift + share * (taken - mean - drift),
            variance=variance + share * ((taken - expected) ** 2 - variance),
        )
        return spike
