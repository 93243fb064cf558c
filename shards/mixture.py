"""Several datasets as one sequence of samples, each with its share.

Which dataset a sample comes from, and which of its samples it is, is a pure function of the sample's number: the
datasets take turns in a pattern that repeats, in which each stands as often as its share says and evenly spread. A
change of the shares begins a new stretch, in which each dataset goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import gcd
from typing import Any

import numpy as np
import numpy.typing as npt

from shards.samples import Place, Samples
from shards.token_stream import PackedBatch

LONGEST_PATTERN = 1_000_000


@dataclass(frozen=True)
class Part:
    """One dataset in a mixture: `share` of the pattern's places, from its own sample `first` on."""

    dataset: str  # identity
    path: str
    share: int
    first: int


@dataclass(frozen=True)
class Stretch:
    """How datasets are mixed from the global sample `sample` on."""

    sample: int
    parts: tuple[Part, ...]

    def plain(self) -> dict[str, Any]:
        """For a checkpoint: only numbers and text."""
        return {"sample": self.sample, "parts": [asdict(part) for part in self.parts]}

    @classmethod
    def from_plain(cls, value: Mapping[str, Any]) -> Stretch:
        """What `plain` gave."""
        return cls(value["sample"], tuple(Part(**part) for part in value["parts"]))

    @property
    def shares(self) -> list[int]:
        """The share of each part."""
        return [part.share for part in self.parts]

    def describe(self) -> str:
        """`a 70.00%, b 30.00%`, by the datasets' paths."""
        total = sum(self.shares)
        return ", ".join(f"{part.path} {part.share / total:.2%}" for part in self.parts)

    def same_mixture(self, other: Stretch) -> bool:
        """Whether the same datasets take turns in the same pattern."""
        ours, theirs = ([(part.dataset, part.share) for part in stretch.parts] for stretch in (self, other))
        return ours == theirs

    def reached(self, sample: int) -> list[int]:
        """The next own sample of each part when the global sample `sample` comes next. Costs O(pattern)."""
        turns, places = divmod(sample - self.sample, sum(self.shares))
        seen = np.bincount(pattern(self.shares)[0][:places], minlength=len(self.parts)).tolist()
        return [part.first + turns * part.share + count for part, count in zip(self.parts, seen, strict=True)]


def next_stretch(history: Sequence[Stretch], parts: Sequence[Part], sample: int) -> Stretch:
    """The stretch of `parts` from global sample `sample` on, after those of `history`: each known dataset (the same
    content, or else the same path) goes on where it was left last, a new one begins at its `first`."""
    known: dict[str, int] = {}
    for stretch, end in zip(history, [*(later.sample for later in history[1:]), sample], strict=True):
        reached = list(zip(stretch.parts, stretch.reached(end), strict=True))
        known |= {part.path: number for part, number in reached}
        known |= {part.dataset: number for part, number in reached}
    firsts = [known.get(part.dataset, known.get(part.path, part.first)) for part in parts]
    return Stretch(sample, tuple(replace(part, first=first) for part, first in zip(parts, firsts, strict=True)))


def pattern(shares: Sequence[int]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The part at each place of the pattern (sum of shares,), and how many places of that part lie before it."""
    parts = np.repeat(np.arange(len(shares)), shares)
    ranks = np.concatenate([np.arange(share) for share in shares])
    moments = (2 * ranks + 1) / (2 * np.repeat(np.asarray(shares, np.float64), shares))  # evenly spread over (0, 1)
    order = np.lexsort((parts, moments))
    return parts[order], ranks[order]


def lowest_terms(shares: Sequence[int]) -> list[int]:
    """The same proportions in the smallest whole numbers."""
    common = gcd(*shares)
    return [share // common for share in shares]


class Mixture:
    """The samples of several datasets (see the module's text). One dataset alone is a mixture, too."""

    def __init__(self, samples: Sequence[Samples], stretch: Stretch) -> None:
        assert len(samples) == len(stretch.parts) and sum(stretch.shares) <= LONGEST_PATTERN
        assert len({part.sequence_length for part in samples}) == 1
        self.stretch = stretch
        self.sequence_length = samples[0].sequence_length
        self.samples_per_epoch = sum(part.samples_per_epoch for part in samples)
        self._samples = list(samples)
        self._parts, self._ranks = pattern(stretch.shares)
        self._shares = np.array(stretch.shares)
        self._firsts = np.array([part.first for part in stretch.parts])

    def batch(self, numbers: npt.NDArray[np.int64]) -> PackedBatch:
        """The samples with global `numbers` (B,), none before the stretch. Costs O(B*T)."""
        parts, own = self.resolve(numbers)
        if len(self._samples) == 1:
            return self._samples[0].batch(own)
        found = [np.flatnonzero(parts == part) for part in np.unique(parts)]
        return _merged([(rows, self._samples[int(parts[rows[0]])].batch(own[rows])) for rows in found])

    def locate(self, numbers: npt.NDArray[np.int64]) -> list[list[Place]]:
        """For each of the samples `numbers` (B,), where its tokens come from."""
        parts, own = self.resolve(numbers)
        return [self._samples[part].locate(own[at : at + 1])[0] for at, part in enumerate(parts.tolist())]

    def resolve(self, numbers: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The part (B,) that each sample comes from, and its number (B,) within that part."""
        turns, places = np.divmod(numbers - self.stretch.sample, len(self._parts))
        assert len(turns) == 0 or turns.min() >= 0, "a sample before the stretch"
        parts = self._parts[places]
        return parts, self._firsts[parts] + turns * self._shares[parts] + self._ranks[places]


def _merged(batches: Sequence[tuple[npt.NDArray[np.int64], PackedBatch]]) -> PackedBatch:
    """One batch out of several: each with the rows that its own become. All have the same fields."""
    rows, length = sum(len(rows) for rows, _ in batches), batches[0][1].inputs.shape[1]

    def woven(parts: Sequence[npt.NDArray[np.int64] | None]) -> npt.NDArray[np.int64] | None:
        whole = np.empty((rows, length), np.int64)
        for (places, _), part in zip(batches, parts, strict=True):
            if part is None:
                return None
            whole[places] = part
        return whole

    inputs = woven([batch.inputs for _, batch in batches])
    assert inputs is not None
    targets = woven([batch.targets for _, batch in batches])
    token_types = woven([batch.token_types for _, batch in batches])
    counts = [batch.filled for _, batch in batches if batch.filled is not None]
    filled = sum(counts) if counts else None
    if batches[0][1].segments is None:
        return PackedBatch(inputs, targets, None, token_types, filled=filled)
    borders, labels = [], []
    for places, batch in batches:
        row, place = np.divmod(batch.pieces[:-1], length)
        borders.append(places[row] * length + place)
        labels.append(batch.labels)
    starts = np.concatenate(borders)
    order = np.argsort(starts)
    segments = np.append(starts[order], rows * length).astype(np.int32)
    known = [of_pieces for of_pieces in labels if of_pieces is not None]
    of_all = np.concatenate(known)[order] if known else None
    return PackedBatch(inputs, targets, segments, token_types, of_all, filled)
