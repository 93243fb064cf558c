"""A small sample of the input, spread over all of it, and what one part of it stands for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.sources.base import Batch, Limits, Reading, Task
from pipeline.sources.registry import source_for

PICK_BYTES = 1 << 20
"""Input bytes that one pick reads: about a batch."""


@dataclass(frozen=True)
class Pick:
    """Where a sample is taken. `budget` input bytes of `task` are read, and stand for `stands_for` bytes of input."""

    task: Task
    budget: int
    stands_for: float


def places_in(tasks: Sequence[Task], count: int) -> npt.NDArray[np.int64]:
    """How many of `count` places, evenly spread over the input's bytes, lie in each task: shape (tasks,)."""
    ends = np.cumsum([task.bytes for task in tasks], dtype=np.float64)
    centres = (np.arange(count) + 0.5) * ends[-1] / count
    found = np.minimum(np.searchsorted(ends, centres, side="right"), len(tasks) - 1)
    return np.bincount(found, minlength=len(tasks)).astype(np.int64)


def pick(tasks: Sequence[Task], wanted: int) -> list[Pick]:
    """Places to sample about `wanted` bytes at, evenly spread over the input: the same for the same input."""
    total = float(sum(task.bytes for task in tasks))
    if not total:
        return []
    count = max(1, int(np.ceil(wanted / min(PICK_BYTES, total / len(tasks)))))
    hits = places_in(tasks, count)
    if len(tasks) <= count or wanted >= total:  # room for every task: each stands for itself
        return [
            Pick(task, max(1, number) * PICK_BYTES, float(task.bytes))
            for task, number in zip(tasks, hits.tolist(), strict=True)
        ]
    return [
        Pick(task, number * PICK_BYTES, number * total / count)
        for task, number in zip(tasks, hits.tolist(), strict=True)
        if number
    ]


class SampledReading:
    """A `Reading` of a task that ends when its budget is used. Of what cannot be entered in the middle (an archive)
    it reads all, if that is not too long, and hands on every n-th batch, so that the sample is spread there too."""

    def __init__(self, task: Task, bounds: Limits, budget: int, whole: bool) -> None:
        source = source_for(task.path, task.options)
        self._reading: Reading = source.open(task, bounds)
        self._by_bytes = source.pieces == "bytes" and not task.options.compression
        self._offsets: list[int] = []
        self._task, self._budget, self._whole = task, budget, whole
        self._handed_on = self._seen = 0
        self._finished = False
        self.position = 0
        self.newlines = 0
        self.digests: list[str] = []
        self.damage: str | None = None

    @property
    def covered(self) -> float:
        """Input bytes of the records that were handed on. Where reading ended within a plain file, the records cut off
        at either end do not count: the others lie between the first and the last one's beginning."""
        if not self._finished and self._by_bytes and len(self._offsets) > 1:
            between = max(self._offsets) - min(self._offsets)
            return between * len(self._offsets) / (len(self._offsets) - 1)
        return self.position * self._handed_on / self._seen if self._seen else float(self.position)

    @property
    def is_whole(self) -> bool:
        """Whether every record was handed on."""
        return self._finished and self._handed_on == self._seen

    def __iter__(self) -> Iterator[Batch]:
        every = max(1, self._task.bytes // self._budget) if self._whole else 1
        for number, batch in enumerate(self._reading):
            self.position = self._reading.position
            size = sum(map(len, batch.texts)) + sum(bad.size for bad in batch.bad) + batch.records
            self._seen += size
            if number % every == 0:
                self._handed_on += size
                self._offsets += [*batch.offsets, *(bad.offset for bad in batch.bad)]
                yield batch
            if not self._whole and self.position >= self._budget:
                return
        self.position, self.damage, self._finished = self._reading.position, self._reading.damage, True

    def stop(self) -> None:
        """See `Reading.stop`."""
        self._reading.stop()


def readings(picks: Sequence[Pick], bounds: Limits, most_bytes: int) -> Iterator[tuple[Pick, SampledReading]]:
    """A reading for each pick. Archives are read whole as long as they have `most_bytes` together."""
    archives = [p.task.bytes for p in picks if p.task.options.compression]
    whole = sum(archives) <= most_bytes
    for chosen in picks:
        archive = bool(chosen.task.options.compression)
        yield chosen, SampledReading(chosen.task, bounds, chosen.budget, whole and archive)
