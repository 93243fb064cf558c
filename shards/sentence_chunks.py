"""Looks up chunks of sentences (`shards.pairs_plan`), many at once: where each begins, where its sentences end, and
whose text it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shards.dataset import Dataset
from shards.documents import RECORD
from shards.pairs_plan import BITS, SENTENCES

Integers = npt.NDArray[np.int64]
_HASH = np.dtype({"names": ["hash"], "formats": ["<u8"], "offsets": [16], "itemsize": RECORD.itemsize})
"""A document record, of which only half the content hash is read."""


@dataclass(frozen=True)
class Chunks:
    """Several chunks. `ends` has the ends of their sentences, counted from each chunk's begin, one chunk after the
    other; those of chunk i begin at `first[i]`. `text` tells documents of different content apart."""

    begins: Integers  # (n,) in the stream
    lengths: Integers  # (n,) tokens
    counts: Integers  # (n,) sentences
    first: Integers  # (n,)
    ends: Integers  # (sum of counts,)
    text: npt.NDArray[np.uint64]  # (n,)


class ChunkReader:
    """Reads the sentence tables of a split that has them."""

    def __init__(self, dataset: Dataset) -> None:
        self._rows, self._pointers, self._hashes = [], [], []
        for shard in dataset.shards:
            assert shard.sentences is not None and shard.records is not None
            self._rows.append(np.asarray(shard.sentences))
            self._pointers.append((np.asarray(shard.pointers), shard.tokens.itemsize))
            self._hashes.append(np.asarray(shard.records).view(_HASH)["hash"])
        self._offsets = np.cumsum([0, *map(len, self._rows)])
        self._stream = dataset.token_offsets

    def chunks(self, starts: Integers, lengths: Integers) -> Chunks:
        """The chunks of pieces with `starts` and `lengths` (n,), all of two sentences at least. Costs O(sentences)."""
        counts, place = starts & SENTENCES, starts >> BITS
        first = np.cumsum(counts) - counts
        rows = np.arange(int(counts.sum())) + np.repeat(place - first, counts)
        ends, begins = np.empty(len(rows), np.int64), np.empty(len(starts), np.int64)
        text = np.empty(len(starts), np.uint64)
        shards = np.searchsorted(self._offsets, place, side="right") - 1
        for shard in np.unique(shards).tolist():
            own = shards == shard
            table, (pointers, size) = self._rows[shard], self._pointers[shard]
            mine = slice(None) if own.all() else np.repeat(own, counts)
            ends[mine] = table["end"][rows[mine] - self._offsets[shard]]
            document = table["document"][place[own] - self._offsets[shard]]
            begins[own] = pointers[document] // size + self._stream[shard]
            text[own] = self._hashes[shard][document]
        shift = ends[first + counts - 1] - lengths  # of the chunk's begin within its document
        return Chunks(begins + shift, lengths, counts, first, ends - np.repeat(shift, counts), text)
