"""Conversations as a chat model learns them: each whole in one row, and only what its spans count is a target.

A piece begins with its conversation, not with the terminator before it as other documents' do: what a model is given to
answer begins with the first turn.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from shards.cutting import DOCUMENTS_AT_ONCE, Cutting, Integers, Portion, borders_of
from shards.dataset import Dataset, Shard
from shards.documents import rows_of


class Conversations(Cutting):
    """The inputs of conversations up to their last counted target; each stays whole. Those that do not fit a row are
    left out, and those of which nothing counts. With `plain_text` the other documents are there as well, whole or cut
    to rows."""

    name = "conversations"

    def __init__(self, plain_text: bool = False) -> None:
        self._plain_text = plain_text

    def settings(self) -> dict[str, Any]:
        """What becomes of long conversations, and of documents that are none."""
        return {"longer": "left out or cut" if self._plain_text else "left out", "plain_text": self._plain_text}

    def portions(self, dataset: Dataset, room: int) -> Iterator[Portion]:
        """Starts are places in the stream; `cut` counts the conversations that are left out for their length."""
        lead = dataset.terminator_length
        shards = [(shard, first) for shard in dataset.shards for first in range(0, _count(shard), DOCUMENTS_AT_ONCE)]
        for (shard, first), borders in zip(shards, borders_of(dataset), strict=True):
            talks, ends = _counted(shard, first, len(borders) - 1)
            starts = np.where(talks, borders[:-1], np.maximum(borders[:-1] - lead, 0))
            plain = np.minimum(borders[1:] - max(lead, 1), dataset.tokens - 1)
            lengths = np.where(talks, ends - 1, plain - starts)  # the last target is no input
            fit = (lengths <= room) | ~talks
            kept = fit & (lengths > 0) & (talks | self._plain_text)
            done = int(borders[-1]) / dataset.tokens
            yield Portion(starts[kept], lengths[kept], done, int(np.count_nonzero(~fit)))

    def nothing(self, dataset: Dataset) -> str:
        """An answer, and a row that takes it."""
        return (
            f"{dataset.path}: split {dataset.split!r} has no conversation in which an assistant speaks and that fits "
            "a row; give a larger --max_seq_len, or data with more conversations"
        )


class CountedTargets:
    """Which tokens of a split a loss counts as targets (see `shards.documents.SPAN`)."""

    def __init__(self, dataset: Dataset) -> None:
        self._shards = dataset.shards
        self._offsets = [int(offset) for offset in dataset.token_offsets]

    def __call__(self, start: int, count: int) -> npt.NDArray[np.bool_]:
        """Whether each of `count` tokens (count,) counts, of the one document that the stream has at `start`. Costs
        O(count + log documents)."""
        number = bisect_right(self._offsets, start) - 1
        shard, local = self._shards[number], start - self._offsets[number]
        size = shard.tokens.itemsize
        document = bisect_right(shard.pointers, local * size) - 1
        rows = None if shard.spans is None else rows_of(shard.spans, document)
        if rows is None or not len(rows):
            return np.ones(count, np.bool_)
        places = np.arange(count) + (local - int(shard.pointers[document]) // size)
        found = np.searchsorted(rows["end"].astype(np.int64), places, side="right")
        begins = np.append(rows["start"].astype(np.int64), np.iinfo(np.int64).max)
        counted: npt.NDArray[np.bool_] = begins[found] <= places
        return counted


def has_conversations(dataset: Dataset) -> bool:
    """Whether any document of a split says which of its tokens count."""
    return any(shard.spans is not None and len(shard.spans) for shard in dataset.shards)


def _count(shard: Shard) -> int:
    return len(shard.pointers)


def _counted(shard: Shard, first: int, count: int) -> tuple[npt.NDArray[np.bool_], Integers]:
    """Which of the `count` documents from `first` on are conversations, and where their last counted tokens end; both
    (count,), 0 where nothing counts."""
    talks, ends = np.zeros(count, np.bool_), np.zeros(count, np.int64)
    if shard.spans is not None:
        documents = shard.spans["document"].astype(np.int64) - first
        inside = (documents >= 0) & (documents < count)
        talks[documents[inside]] = True
        ends[documents[inside]] = shard.spans["end"][inside]  # spans ascend: the last one stays
    return talks, ends
