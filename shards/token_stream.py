"""A split as one stream of tokens, and rows cut out of it with the borders of their documents.

A piece of a document begins at the terminator of the document before it: as input, the terminator starts the next
document (generation starts from it, too), as target it ends its own. So every token is a target in the piece of its own
document. Without a terminator a piece begins with its document, and no token predicts across the border.

B rows a batch, T tokens a row.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shards.dataset import Dataset

IGNORE = -100
"""Target id that no loss counts (the convention of torch and transformers)."""


@dataclass(frozen=True)
class PackedBatch:
    """`segments` are cumulative borders (int32, starting 0, ending B*T) of the pieces of documents in the flattened
    rows, as variable-length attention takes them; every row starts a piece. None where documents may see each other.

    `token_types` are 0 in the first sentence of a pair, 1 in the second. `labels` has one class for each piece of
    `segments[:-1]`, IGNORE for those without: padding is a piece as well. `filled` places hold no padding, where the
    targets do not tell."""

    inputs: npt.NDArray[np.int64]  # (B, T)
    targets: npt.NDArray[np.int64] | None  # (B, T), IGNORE where nothing is to be predicted; None: no next tokens
    segments: npt.NDArray[np.int32] | None  # (pieces + 1,)
    token_types: npt.NDArray[np.int64] | None = None  # (B, T)
    labels: npt.NDArray[np.int64] | None = None  # (pieces,)
    filled: int | None = None

    @property
    def pieces(self) -> npt.NDArray[np.int32]:
        """The borders, of a batch that has them."""
        assert self.segments is not None
        return self.segments

    @property
    def next_tokens(self) -> npt.NDArray[np.int64]:
        """The targets (B, T), of a batch that has them."""
        assert self.targets is not None
        return self.targets


class TokenStream:
    """Random access to the tokens and document borders of a split, across its shards."""

    def __init__(self, dataset: Dataset) -> None:
        self._shards = dataset.shards
        self._offsets = [int(offset) for offset in dataset.token_offsets]
        self.size = dataset.tokens

    def read(self, start: int, out: npt.NDArray[np.int64]) -> None:
        """Copy tokens from `start` on into `out` (n,). Costs O(n)."""
        number = bisect_right(self._offsets, start) - 1 if len(self._shards) > 1 else 0
        filled = 0
        while filled < len(out):
            local = start + filled - self._offsets[number]
            count = min(len(out) - filled, self._offsets[number + 1] - start - filled)
            out[filled : filled + count] = self._shards[number].tokens[local : local + count]
            filled += count
            number += 1

    def document_starts(self, first: int, stop: int) -> npt.NDArray[np.int64]:
        """Where documents start in [first, stop), ascending; empty documents start where the next one does. Costs
        O(result + log documents)."""
        first, stop = max(first, 0), min(stop, self.size)
        found = []
        number = bisect_right(self._offsets, first) - 1 if len(self._shards) > 1 else 0
        while number < len(self._shards) and (base := self._offsets[number]) < stop:
            shard = self._shards[number]
            size = shard.tokens.itemsize
            # Not NumPy's searchsorted: the index file leaves the pointers unaligned, and that would copy them all.
            low = bisect_left(shard.pointers, (first - base) * size)
            high = bisect_left(shard.pointers, (stop - base) * size, lo=low)
            if high > low:
                found.append(shard.pointers[low:high] // size + base)
            number += 1
        return found[0] if len(found) == 1 else np.concatenate([np.zeros(0, np.int64), *found])


class StreamRows:
    """Rows of T tokens from any place of a split. What a row lacks at the end of the stream is filled up with zeros,
    whose targets are IGNORE and which are a piece of their own."""

    def __init__(self, dataset: Dataset, sequence_length: int, document_mask: bool) -> None:
        self._stream = TokenStream(dataset)
        self._length = sequence_length
        self._mask = document_mask
        self._lead = dataset.terminator_length

    def read(self, starts: npt.NDArray[np.int64]) -> PackedBatch:
        """The rows whose first input tokens stand at `starts` (B,) of the stream. Costs O(B*T)."""
        rows, length, size = len(starts), self._length, self._stream.size
        buffer = np.empty((rows, length + 1), np.int64)
        inputs, targets = buffer[:, :-1], buffer[:, 1:]
        if (len(starts) and int(starts.max()) + length >= size) or (self._mask and not self._lead):
            targets = np.empty((rows, length), np.int64)  # of its own: what is ignored here stays an input there
        borders: list[npt.NDArray[np.int64]] = []
        for row, start in enumerate(starts.tolist()):
            available = min(length, size - 1 - start)  # targets
            self._stream.read(start, buffer[row, : available + 1])
            if targets.base is not buffer:
                targets[row] = buffer[row, 1:]
            if available < length:
                buffer[row, available + 1 :] = 0
                targets[row, available:] = IGNORE
            if self._mask:
                self._add_borders(start, available, row * length, targets[row], borders)
        if not self._mask:
            return PackedBatch(inputs, targets, None)
        borders.append(np.array([rows * length], np.int64))
        return PackedBatch(inputs, targets, _once(borders))

    def _add_borders(
        self,
        start: int,
        available: int,
        shift: int,
        targets: npt.NDArray[np.int64],
        borders: list[npt.NDArray[np.int64]],
    ) -> None:
        """Append the borders of one row of `available` targets; `shift` is where it begins in the flattened rows."""
        first = start + self._lead  # the document that starts here has its terminator at the row's first place
        places = self._stream.document_starts(first + 1, first + available + (self._lead == 0)) - first
        if not self._lead:
            targets[places - 1] = IGNORE
            places = places[places < available]
        borders.append(np.array([shift], np.int64))
        if len(places):
            borders.append(places + shift)
        if 0 < available < self._length:
            borders.append(np.array([shift + available], np.int64))


def _once(borders: list[npt.NDArray[np.int64]]) -> npt.NDArray[np.int32]:
    """The ascending `borders` as one array, each place once: empty documents and shards begin where the next does."""
    places = np.concatenate(borders)
    return places[np.diff(places, prepend=-1) > 0].astype(np.int32)
