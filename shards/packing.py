"""Cut the token stream of a split into training samples: concatenate and chunk, document borders known.

B rows a batch, T tokens a row. A batch is a pure function of (seed, sample numbers).
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foundation.errors import UserError
from foundation.streams import derive_seed
from shards.dataset import Dataset
from shards.order import permute

IGNORE = -100
"""Target id that no loss counts (the convention of torch and transformers)."""


@dataclass(frozen=True)
class PackedBatch:
    """`segments` are cumulative borders (int32, starting 0, ending B*T) of the pieces of documents in the flattened
    rows, as variable-length attention takes them; every row starts a piece."""

    inputs: npt.NDArray[np.int64]  # (B, T)
    targets: npt.NDArray[np.int64]  # (B, T), IGNORE where nothing is to be predicted
    segments: npt.NDArray[np.int32]  # (pieces + 1,)


class TokenStream:
    """Random access to the tokens and document borders of a split, across its shards."""

    def __init__(self, dataset: Dataset) -> None:
        self._shards = dataset.shards
        self._offsets = [int(offset) for offset in dataset.token_offsets]
        self.size = dataset.tokens

    def read(self, start: int, out: npt.NDArray[np.int64], borders: list[npt.NDArray[np.int64]], shift: int) -> None:
        """Copy tokens from `start` on into `out` (n,). Positions in `out` at which a document starts, but its first
        and last, go into `borders`, each plus `shift`. Costs O(n + log documents)."""
        wanted, filled = len(out), 0
        number = int(np.searchsorted(self._offsets, start, side="right")) - 1 if len(self._shards) > 1 else 0
        while filled < wanted:
            shard, base = self._shards[number], self._offsets[number]
            local = start + filled - base
            count = min(wanted - filled, self._offsets[number + 1] - base - local)
            out[filled : filled + count] = shard.tokens[local : local + count]
            if 0 < filled < wanted - 1:
                borders.append(np.array([filled + shift], np.int64))  # a shard starts with a document
            size = shard.tokens.itemsize
            end = local + min(count, wanted - 1 - filled)
            # Not NumPy's searchsorted: the index file leaves the pointers unaligned, and that would copy them all.
            first = bisect_left(shard.pointers, (local + 1) * size)
            last = bisect_left(shard.pointers, end * size, lo=first)
            if last > first:
                borders.append(shard.pointers[first:last] // size + (filled - local + shift))
            filled += count
            number += 1


def _segments(borders: list[npt.NDArray[np.int64]]) -> npt.NDArray[np.int32]:
    """The ascending `borders` as one array, each place once: empty documents and shards begin where the next does."""
    places = np.concatenate(borders)
    return places[np.diff(places, prepend=-1) > 0].astype(np.int32)


class PackedSamples:
    """Shuffled training samples. In each epoch the stream is cut from a small offset of its own, so that the tail that
    fills no whole sample in one epoch is seen in others."""

    def __init__(self, dataset: Dataset, sequence_length: int, seed: int, shuffle: bool = True) -> None:
        self.dataset = dataset
        self.sequence_length = sequence_length
        self.seed = seed
        self.shuffle = shuffle
        self.samples_per_epoch = (dataset.tokens - 1) // sequence_length
        if self.samples_per_epoch < 1:
            raise UserError(
                f"{dataset.path}: split {dataset.split!r} has {dataset.tokens} tokens, fewer than the"
                f" {sequence_length + 1} that one sample takes; give more text or a smaller --max_seq_len"
            )
        self._stream = TokenStream(dataset)

    def batch(self, numbers: npt.NDArray[np.int64]) -> PackedBatch:
        """The samples with global `numbers` (B,): number // samples_per_epoch is the epoch. Costs O(B*T)."""
        rows, length = len(numbers), self.sequence_length
        buffer = np.empty((rows, length + 1), np.int64)
        borders: list[npt.NDArray[np.int64]] = []
        for row, start in enumerate(self._starts(numbers)):
            borders.append(np.array([row * length], np.int64))
            self._stream.read(int(start), buffer[row], borders, row * length)
        borders.append(np.array([rows * length], np.int64))
        return PackedBatch(buffer[:, :-1], buffer[:, 1:], _segments(borders))

    def _starts(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        epochs = numbers // self.samples_per_epoch
        within = numbers % self.samples_per_epoch
        starts = np.empty(len(numbers), np.int64)
        for epoch in np.unique(epochs):
            mask = epochs == epoch
            places = within[mask]
            if self.shuffle:
                places = permute(places, self.samples_per_epoch, self.seed, int(epoch))
            starts[mask] = places * self.sequence_length + self._offset(int(epoch))
        return starts

    def _offset(self, epoch: int) -> int:
        """First token of the epoch's first sample. What an epoch leaves out is at most T tokens."""
        spare = self.dataset.tokens - 1 - self.samples_per_epoch * self.sequence_length
        return derive_seed(self.seed, "offset", epoch) % (spare + 1) if self.shuffle else 0


class SequentialSamples:
    """One full pass in order, for evaluation: every token but the first is a target exactly once. The last row is
    filled up with zeros whose targets are IGNORE."""

    def __init__(self, dataset: Dataset, sequence_length: int) -> None:
        self.sequence_length = sequence_length
        self.targets = max(0, dataset.tokens - 1)
        self._stream = TokenStream(dataset)

    def __len__(self) -> int:
        """Number of rows."""
        return -(-self.targets // self.sequence_length)

    def batch(self, first: int, count: int) -> PackedBatch:
        """Rows `first` … `first + count - 1` (fewer at the end)."""
        rows = range(first, min(first + count, len(self)))
        length = self.sequence_length
        buffer = np.zeros((len(rows), length + 1), np.int64)
        targets = np.full((len(rows), length), IGNORE, np.int64)
        borders: list[npt.NDArray[np.int64]] = []
        for place, row in enumerate(rows):
            available = min(length, self.targets - row * length)
            borders.append(np.array([place * length], np.int64))
            self._stream.read(row * length, buffer[place, : available + 1], borders, place * length)
            targets[place, :available] = buffer[place, 1 : available + 1]
            if available < length:
                borders.append(np.array([place * length + available], np.int64))
        borders.append(np.array([len(rows) * length], np.int64))
        return PackedBatch(buffer[:, :-1], targets, _segments(borders))
