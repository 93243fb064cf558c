"""Which samples and documents a step was made of: what to look at when it went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from shards.samples import Samples
from training.batching.batches import BatchPlan

_MOST_SAMPLES = 64


def microstep_samples(plan: BatchPlan, first: int, microsteps: Sequence[int]) -> list[list[int]]:
    """The samples of some microsteps, all ranks together, of the step that starts at `first`: ranges, ends included."""
    size = plan.batch_size * plan.ranks
    ranges: list[list[int]] = []
    for number in sorted(microsteps):
        start = first + number * size
        if ranges and ranges[-1][1] == start - 1:
            ranges[-1][1] += size
        else:
            ranges.append([start, start + size - 1])
    return ranges


def in_words(ranges: Sequence[Sequence[int]]) -> str:
    """`3 to 5, 9 to 11`."""
    return ", ".join(f"{start} to {end}" if end > start else f"{start}" for start, end in ranges)


def documents(samples: Samples, ranges: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """Where the tokens of these samples stand: plain values, a piece each, of at most 64 samples."""
    numbers = [number for start, end in ranges for number in range(start, end + 1)][:_MOST_SAMPLES]
    places = samples.locate(np.array(numbers, np.int64))
    return [
        {"sample": number, "dataset": piece.path, "split": piece.split, "token": piece.token, "tokens": piece.tokens}
        for number, pieces in zip(numbers, places, strict=True)
        for piece in pieces
    ]
