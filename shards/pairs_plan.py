"""Chunks of documents for sentence pairs: runs of consecutive whole sentences, which a plan packs into rows.

A piece of the plan is a chunk. Its `start` holds two numbers: where it is, and above 1 how many sentences it has.

    start = place << 20 | sentences
    sentences >= 2:  the chunk's first sentence is row `place` of the split's sentence tables, shards back to back
    sentences == 0:  a text that no pair can be cut from; it begins at `place` of the split's stream of tokens

Texts that no pair can be cut from are documents of one sentence, sentences between two that are too long to join them,
and the parts of a sentence that is longer than a row.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from foundation.errors import UserError
from shards import cutting
from shards.cutting import Cutting, Portion
from shards.dataset import Dataset, Shard
from shards.framing import PAIR

Integers = npt.NDArray[np.int64]
BITS = 20
SENTENCES = (1 << BITS) - 1
"""The bits of a piece's start that count sentences; a row has fewer tokens."""
ALONE = 1_000_000
"""What a chunk of one sentence costs a document, in rows of padding: none is worth another."""
CHUNKS = 6
"""A chunk costs as much as the padding of this fraction of a row. With reviews of 300 tokens, rows of 128, 256 and 512
have 5.5%, 2.5% and 0.9% of padding; with chunks as long as can be 10.8%, 9.0% and 1.2%."""


def check_sentences(dataset: Dataset) -> None:
    """`UserError` unless the dataset records where sentences end."""
    if any(shard.sentences is None for shard in dataset.shards):
        raise UserError(
            f"{dataset.path}: sentence pairs need to know where sentences end, which this dataset does not record; "
            "make it with `python -m pipeline.process --sentence_borders true`, or train with --task mlm"
        )


class SentenceChunks(Cutting):
    """Chunks of whole sentences: documents that fit into a row, and runs of the sentences of longer ones (see `runs`).
    A sentence that is longer than a row is cut."""

    frame = PAIR
    name = "sentence chunks"

    def portions(self, dataset: Dataset, room: int) -> Iterator[Portion]:
        """Starts are a place and a number of sentences (see the module's text). `UserError` for a split in which there
        are no two documents with a pair."""
        check_sentences(dataset)
        rows = paired = 0
        for shard, base, stream in zip(dataset.shards, dataset.document_offsets, dataset.token_offsets, strict=False):
            for first in range(0, len(shard.pointers), cutting.DOCUMENTS_AT_ONCE):
                stop = min(first + cutting.DOCUMENTS_AT_ONCE, len(shard.pointers))
                some = _Documents(shard, first, stop, dataset.terminator_length)
                paired += some.cut(room, rows, int(stream))
                yield Portion(some.starts, some.lengths, (int(base) + stop) / dataset.documents, some.long)
            rows += 0 if shard.sentences is None else len(shard.sentences)
        if paired < 2:
            more = "more text" if dataset.split == "train" else "it a larger share (the pipeline's --val_fraction)"
            raise UserError(
                f"{dataset.path}: split {dataset.split!r} has {paired} documents with two sentences that fit into a "
                f"row, and sentence pairs need two; give {more}, a larger --max_seq_len, or train with --task mlm"
            )


class _Documents:
    """Some documents of a shard, and the pieces they are cut into."""

    def __init__(self, shard: Shard, first: int, stop: int, terminator: int) -> None:
        assert shard.sentences is not None
        sentences = np.asarray(shard.sentences)
        self._before = bisect_left(sentences["document"], first)  # rows of the shard before these documents'
        after = bisect_left(sentences["document"], stop, lo=self._before)
        self._documents = sentences["document"][self._before : after].astype(np.int64) - first
        self._ends = sentences["end"][self._before : after].astype(np.int64)
        self._pointers = np.asarray(shard.pointers)[first:stop] // shard.tokens.itemsize
        self._lengths = np.asarray(shard.lengths)[first:stop].astype(np.int64) - terminator
        self.long = 0
        """Documents that were cut."""
        self.starts = self.lengths = np.zeros(0, np.int64)

    def cut(self, room: int, rows: int, stream: int) -> int:
        """Make the pieces, for a shard whose first sentence is row `rows` and whose first token is at `stream`; how
        many documents have a pair. Costs O(documents + sentences), and a step in Python a piece of a long document."""
        counts = np.bincount(self._documents, minlength=len(self._lengths))
        many = counts > 1
        first = np.cumsum(counts) - counts  # of each document's rows
        self.long = int(np.count_nonzero(self._lengths > room))
        whole = np.flatnonzero(many & (self._lengths <= room))
        chunks = [np.stack([first[whole], counts[whole], self._lengths[whole]], axis=1)]  # row, sentences, tokens
        alone = [np.stack([self._pointers[~many], self._lengths[~many]], axis=1)]  # place, tokens
        paired = len(whole)
        for document in np.flatnonzero(many & (self._lengths > room)).tolist():
            row, place = int(first[document]), int(self._pointers[document])
            ends = self._ends[row : row + counts[document]].tolist()
            found = runs(ends, room)
            paired += any(stop - begin > 1 for begin, stop in found)
            spans = [(begin, stop, ends[begin - 1] if begin else 0, ends[stop - 1]) for begin, stop in found]
            joined = [(row + begin, stop - begin, end - start) for begin, stop, start, end in spans if stop - begin > 1]
            single = [(place + start, end - start) for begin, stop, start, end in spans if stop - begin == 1]
            chunks.append(np.array(joined, np.int64).reshape(-1, 3))
            alone.append(np.array(single, np.int64).reshape(-1, 2))
        self._keep(np.concatenate(chunks), np.concatenate(alone), room, rows + self._before, stream)
        return paired

    def _keep(self, chunks: Integers, alone: Integers, room: int, rows: int, stream: int) -> None:
        places, lengths = _parts(alone[:, 0] + stream, alone[:, 1], room)
        self.starts = np.concatenate([(chunks[:, 0] + rows) << BITS | chunks[:, 1], places << BITS])
        self.lengths = np.concatenate([chunks[:, 2], lengths])


def runs(ends: Sequence[int], room: int) -> list[tuple[int, int]]:
    """Cut a document into chunks of whole sentences: the first sentence of each, and the one behind its last.

    `ends` (n,) are the ends of its sentences. A chunk fits into `room`, unless it is one longer sentence. As few as can
    be have a single sentence; then few chunks are wanted that fill more than half a row but not all of it, since
    nothing fits beside them, and few chunks at all. Costs O(n) times the sentences that fit into a row.
    """
    borders = [0, *ends]
    costs, froms = [0], [0]  # of the best way to cut the first n sentences; where its last chunk begins
    for stop in range(1, len(borders)):
        end = borders[stop]
        least, chosen = costs[stop - 1] + ALONE * room, stop - 1
        for first in range(stop - 2, -1, -1):
            left = room - end + borders[first]
            if left < 0:
                break
            cost = costs[first] + room // CHUNKS + (left if 2 * left < room else 0)
            if cost < least:
                least, chosen = cost, first
        costs.append(least)
        froms.append(chosen)
    found, stop = [], len(ends)
    while stop:
        found.append((froms[stop], stop))
        stop = froms[stop]
    return found[::-1]


def _parts(places: Integers, lengths: Integers, room: int) -> tuple[Integers, Integers]:
    """Texts, each cut into parts of `room` tokens and a rest: where the parts begin, and their lengths."""
    counts = -(-lengths // room)
    shifts = (np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)) * room
    return np.repeat(places, counts) + shifts, np.minimum(np.repeat(lengths, counts) - shifts, room)
