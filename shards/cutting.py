"""Into which pieces the documents of a split are cut before a plan packs them into rows, for each kind of samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from foundation.errors import UserError
from shards.dataset import Dataset
from shards.documents import NO_LABEL
from shards.framing import SINGLE

DOCUMENTS_AT_ONCE = 2**18
"""Documents packed with each other: more waste memory, and leave hardly less padding."""

Integers = npt.NDArray[np.int64]


class Portion(NamedTuple):
    """Many documents' pieces. A plan cuts what does not fit into a row once more."""

    starts: Integers  # (n,) where each begins, in what `Cutting` counts
    lengths: Integers  # (n,) tokens, the frame not counted
    done: float  # share of the split that is cut, up to here
    cut: int  # documents that were cut already


class Cutting(ABC):
    """A way to cut documents into pieces; each takes `frame` more places in a row than it has tokens."""

    frame: ClassVar[int] = 0
    smallest: ClassVar[int] = 0
    """Documents that are cut anyway may be cut once more, to fill rows, into pieces of this many tokens or more; 0:
    never."""
    name: ClassVar[str] = ""
    """Names the way in the plan and its fingerprint; empty for the one that plans began with."""

    @abstractmethod
    def portions(self, dataset: Dataset, room: int) -> Iterator[Portion]:
        """The pieces of all documents of `dataset`, DOCUMENTS_AT_ONCE at a time; `room` is what a row takes of one.

        A length may exceed `room` if `starts` are places in the stream: the plan cuts it."""

    def settings(self) -> dict[str, Any]:
        """What else decides the pieces, as plain values; under `longer` what becomes of documents longer than a row,
        where they are not cut."""
        return {}

    def nothing(self, dataset: Dataset) -> str:
        """What to tell a user whose split has no piece."""
        return f"{dataset.path}: split {dataset.split!r} has no document with text; give more text to train on"


class NextTokens(Cutting):
    """The inputs of a causal model: each is followed by its target (see `shards.token_stream`)."""

    def portions(self, dataset: Dataset, room: int) -> Iterator[Portion]:
        """Starts are places in the stream."""
        lead, last = dataset.terminator_length, dataset.tokens - 1
        for borders in borders_of(dataset):
            starts = np.maximum(borders[:-1] - lead, 0)
            # The last token of a document without a terminator predicts nothing; nor does the stream's very last.
            ends = np.minimum(borders[1:] - max(lead, 1), last)
            yield _portion(dataset, borders, starts, ends)

    def nothing(self, dataset: Dataset) -> str:
        """A document of one token has no target."""
        return f"{dataset.path}: split {dataset.split!r} has no document of two tokens; give more text to train on"


class Texts(Cutting):
    """The texts of documents, without their terminators, for an encoder: `[CLS] text [SEP]`. What is longer than a row
    is cut."""

    frame = SINGLE
    smallest = 32
    name = "texts"

    def settings(self) -> dict[str, Any]:
        """How rests are cut."""
        return {"smallest": self.smallest}

    def portions(self, dataset: Dataset, room: int) -> Iterator[Portion]:
        """Starts are places in the stream."""
        for borders in borders_of(dataset):
            yield _portion(dataset, borders, borders[:-1], borders[1:] - dataset.terminator_length)


class LabelledTexts(Cutting):
    """One piece for each document that has a label, the empty ones too; what is longer than a row counts as a row."""

    frame = SINGLE
    name = "labelled texts"

    def portions(self, dataset: Dataset, room: int) -> Iterator[Portion]:
        """Starts are numbers of documents (`Dataset.document`)."""
        for shard, base in zip(dataset.shards, dataset.document_offsets.tolist(), strict=False):
            if shard.records is None:
                raise UserError(f"{dataset.path}: this dataset carries no labels; make one with the pipeline")
            for first in range(0, len(shard.pointers), DOCUMENTS_AT_ONCE):
                some = slice(first, first + DOCUMENTS_AT_ONCE)
                labelled = np.flatnonzero(shard.records["label"][some] != NO_LABEL)
                lengths = shard.lengths[some][labelled].astype(np.int64) - dataset.terminator_length
                done = (base + min(first + DOCUMENTS_AT_ONCE, len(shard.pointers))) / dataset.documents
                cut = int(np.count_nonzero(lengths > room))
                yield Portion(labelled + first + base, np.clip(lengths, 0, room), done, cut)

    def nothing(self, dataset: Dataset) -> str:
        """Labels come from the pipeline."""
        return (
            f"{dataset.path}: split {dataset.split!r} has no document with a label; make the dataset from labelled "
            "records (the pipeline's label field and --labels)"
        )


def borders_of(dataset: Dataset) -> Iterator[Integers]:
    """Where many documents begin in the stream, and where the last of them ends, (documents + 1,)."""
    for shard, offset in zip(dataset.shards, dataset.token_offsets.tolist(), strict=False):
        count, size = len(shard.pointers), shard.tokens.itemsize
        for first in range(0, count, DOCUMENTS_AT_ONCE):
            borders = np.asarray(shard.pointers[first : first + DOCUMENTS_AT_ONCE + 1]) // size
            if first + DOCUMENTS_AT_ONCE >= count:
                borders = np.append(borders, len(shard.tokens))
            yield borders + offset


def _portion(dataset: Dataset, borders: Integers, starts: Integers, ends: Integers) -> Portion:
    """The pieces from `starts` to `ends` that are not empty."""
    kept = ends > starts
    return Portion(starts[kept], ends[kept] - starts[kept], int(borders[-1]) / dataset.tokens, 0)
