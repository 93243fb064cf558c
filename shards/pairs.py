"""Sentence pairs, as BERT learned from them: A, and the text that follows it or some other text (Devlin et al. 2019,
section 3.1). `[CLS] A [SEP] B [SEP]`, packed into rows by a plan (`shards.pairs_plan`).

A chunk of sentences is cut into A and B at the end of one of them. In half of all pairs another document of the split
lends B: the last sentences of a chunk, as B's own are of theirs, those of many candidates that fill B's room best and
never more. Whether a pair is true is decided last, when A, B and the other B stand: so nothing but the texts tells it.
On reviews, a classifier that sees lengths alone is right as often as not (area under the curve 0.50), and a linear one
that sees B's first and last tokens no more often (0.50). A text that no pair can be cut from stays whole, unlabelled.

B rows a batch, T tokens a row, P pairs. A batch is a pure function of (seed, sample numbers).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foundation import noise
from shards.dataset import Dataset
from shards.filling import PIECE
from shards.framing import Frame, FramedRows
from shards.packing_plan import Plan
from shards.pairs_plan import BITS, SENTENCES, check_sentences
from shards.planned import RowsOfPlan
from shards.samples import Place
from shards.sentence_chunks import ChunkReader, Chunks
from shards.token_stream import PackedBatch, TokenStream

IS_NEXT, RANDOM = 0, 1
"""Labels of a pair (as `transformers` has them)."""
CANDIDATES = 64
"""So many chunks are asked for another B at once."""
ATTEMPTS = 8
"""So often a chunk is cut anew when none of them has one."""
PIECES_BITS = 20
"""A row has fewer pieces than fit into so many bits."""
_NONE = np.iinfo(np.int64).max

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Cut:
    """Where chunks are cut: A's tokens, and another B of at most as many tokens as their own (0: none was found)."""

    first: Integers  # (P,)
    begins: Integers  # (P,) of the other B, in the stream
    others: Integers  # (P,) its tokens


class _PairRows:
    """Makes rows of a plan."""

    def __init__(self, dataset: Dataset, plan: Plan, frame: Frame, seed: int) -> None:
        check_sentences(dataset)
        self._plan, self._frame, self._seed = plan, frame, seed
        self._stream, self._chunks = TokenStream(dataset), ChunkReader(dataset)

    def read(self, rows: Sequence[int], numbers: Integers) -> PackedBatch:
        """The plan's `rows`, which are the samples `numbers` (B,)."""
        listed = [self._plan.row(row) for row in rows]
        row = np.repeat(np.arange(len(rows)), [len(pieces) for pieces in listed])
        pieces = np.array([piece for pieces in listed for piece in pieces], PIECE)
        place = np.arange(len(row)) - np.searchsorted(row, row)  # in its row
        begins, chunks, pairs = self._looked_up(pieces)
        key = (numbers[row] << PIECES_BITS | place)[pairs]
        cut = self._cut(chunks, key)
        random = self._random(cut.others > 0, row[pairs], numbers, key)
        first, other, tokens = np.zeros((3, len(row)), np.int64)  # of A; where another B begins, and its tokens
        first[pairs], other[pairs], tokens[pairs] = np.where(cut.others, cut.first, 0), cut.begins, cut.others * random
        table = np.stack([row, begins, pieces["length"], first, other, tokens], axis=1)

        framed = FramedRows(len(rows), self._plan.summary.sequence_length, self._frame, token_types=True, labels=True)
        for number, begin, length, a_tokens, b_begin, b_tokens in table.tolist():
            if not a_tokens:
                self._stream.read(begin, framed.single(number, length))
                continue
            label = RANDOM if b_tokens else IS_NEXT
            a, b = framed.pair(number, a_tokens, b_tokens or length - a_tokens, label)
            self._stream.read(begin, a)
            self._stream.read(b_begin if label == RANDOM else begin + a_tokens, b)
        return framed.batch()

    def places(self, row: int) -> list[tuple[int, int]]:
        """Where the chunks of a row begin in the stream, and how many tokens they have."""
        pieces = np.array(self._plan.row(row), PIECE)
        begins, _, _ = self._looked_up(pieces)
        return list(zip(begins.tolist(), pieces["length"].tolist(), strict=True))

    def _looked_up(self, pieces: npt.NDArray[np.void]) -> tuple[Integers, Chunks, Integers]:
        """Where pieces (n,) begin in the stream, the chunks (P,) among them that can be cut, and which they are."""
        starts, lengths = pieces["start"], pieces["length"].astype(np.int64)
        begins, pairs = starts >> BITS, np.flatnonzero(starts & SENTENCES)
        chunks = self._chunks.chunks(starts[pairs], lengths[pairs])
        begins[pairs] = chunks.begins
        return begins, chunks, pairs

    def _cut(self, chunks: Chunks, key: Integers) -> _Cut:
        """Cut chunks (P,), and find each another B; where there is none, the chunk is cut elsewhere."""
        found = _Cut(*np.zeros((3, len(key)), np.int64))
        left = np.arange(len(key))
        for attempt in range(ATTEMPTS):
            if not len(left):
                break
            random = noise.uniform(noise.words(self._seed, f"sentence pairs {attempt}", key[left], 1 + CANDIDATES))
            border = (random[:, 0] * (chunks.counts[left] - 1)).astype(np.int64)
            first = chunks.ends[chunks.first[left] + border]
            begins, others = self._others(chunks.lengths[left] - first, chunks.text[left], random[:, 1:])
            found.first[left], found.begins[left], found.others[left] = first, begins, others
            left = left[others == 0]
        return found

    def _others(self, room: Integers, text: npt.NDArray[np.uint64], random: Reals) -> tuple[Integers, Integers]:
        """Begins and lengths (P,) of what fills `room` (P,) best among the ends of random chunks of other texts."""
        count = random.shape[1]
        pieces = self._plan.pieces((random * self._plan.summary.pieces).astype(np.int64).ravel())
        asked = np.flatnonzero(pieces["start"] & SENTENCES)
        ends, slack = np.zeros(random.size, np.int64), np.full(random.size, _NONE)
        chunks = self._chunks.chunks(pieces["start"][asked], pieces["length"][asked].astype(np.int64))
        rooms = np.repeat(room, count)[asked]
        usable = chunks.text != np.repeat(text, count)[asked]
        over = np.repeat(rooms - chunks.lengths, chunks.counts) + chunks.ends  # that those behind each leave
        over[(over < 0) | ~np.repeat(usable, chunks.counts)] = _NONE
        if len(asked):
            slack[asked] = np.minimum.reduceat(over, chunks.first)
        ends[asked] = chunks.begins + chunks.lengths
        best = slack.reshape(-1, count).argmin(axis=1) + np.arange(0, random.size, count)
        others = np.where(slack[best] == _NONE, 0, room - slack[best])
        return ends[best] - others, others

    def _random(self, able: npt.NDArray[np.bool_], row: Integers, numbers: Integers, key: Integers) -> Integers:
        """1 for the pairs (P,) that get another B: half of the `able` ones of each row, an odd one by chance."""
        order = np.lexsort((noise.words(self._seed, "which pairs are random", key, 1)[:, 0], ~able, row))
        rank = np.empty(len(row), np.int64)
        rank[order] = np.arange(len(row))
        rank -= np.searchsorted(row, row)
        count = np.bincount(row, weights=able, minlength=len(numbers)).astype(np.int64)
        up = noise.words(self._seed, "odd pairs", numbers, 1)[:, 0] & np.uint64(1)
        half = (count + up.astype(np.int64)) // 2
        return (able & (rank < half[row])).astype(np.int64)


class PairSamples(RowsOfPlan):
    """Training samples: every token of every text is in every epoch once, but for the B's that others stand in for."""

    def __init__(self, dataset: Dataset, plan: Plan, seed: int, frame: Frame) -> None:
        super().__init__(dataset, plan, seed)
        self._pairs = _PairRows(dataset, plan, frame, seed)

    def batch(self, numbers: npt.NDArray[np.int64]) -> PackedBatch:
        """The samples with global `numbers` (B,): number // samples_per_epoch is the epoch. Costs O(B*T)."""
        return self._pairs.read(self.rows(numbers), numbers)

    def locate(self, numbers: npt.NDArray[np.int64]) -> list[list[Place]]:
        """For each of the samples `numbers` (B,), where its chunks stand; the B's of others are not named."""
        path, split = str(self.dataset.path), self.dataset.split
        return [[Place(path, split, *place) for place in self._pairs.places(row)] for row in self.rows(numbers)]


class SequentialPairs:
    """One full pass in the plan's order, for evaluation: the same pairs in every run, whatever its seed."""

    def __init__(self, dataset: Dataset, plan: Plan, frame: Frame) -> None:
        self.plan, self.sequence_length = plan, plan.summary.sequence_length
        self._pairs = _PairRows(dataset, plan, frame, seed=0)

    def __len__(self) -> int:
        """Number of rows."""
        return self.plan.summary.rows

    def batch(self, first: int, count: int) -> PackedBatch:
        """Rows `first` … `first + count - 1` (fewer at the end)."""
        rows = range(first, min(first + count, len(self)))
        return self._pairs.read(rows, np.array(rows, np.int64))
