"""How often each token occurs in what is published, without a second pass over all tokens.

Workers count the tokens of each part while they have them; publishing takes away what it leaves out. In every part the
largest group of documents (usually those of train) is what remains after the smaller ones were counted one by one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pipeline.statistics.scripts import SCRIPTS, script_counts
from pipeline.workspace.parts import Part, PartWriter

Counts = npt.NDArray[np.int64]

COUNT = np.dtype([("id", "<u4"), ("count", "<u8")])
"""One token that occurs in a part. A part keeps only those, so that small parts stay small."""

TOKEN_COUNTS, SAMPLE = "token_counts", "sample"
SAMPLED = 16
"""One document in so many is looked at character by character, chosen by its content hash."""
SAMPLE_FIELDS = (*SCRIPTS, "documents", "bytes")
_RUN_TOKENS = 1 << 20


class ContentCounter:
    """What statistics need and only mapping sees cheaply. One for each task."""

    def __init__(self, vocab_size: int) -> None:
        self._tokens = np.zeros(vocab_size, np.int64)
        self._sample = np.zeros(len(SAMPLE_FIELDS), np.int64)

    def add(self, texts: list[bytes], hashes: npt.NDArray[np.void], tokens: npt.NDArray[np.generic]) -> None:
        """Count documents: cleaned `texts` (n,), content `hashes` (n,) of 16 bytes, and all their `tokens`."""
        self._tokens += np.bincount(tokens, minlength=len(self._tokens))
        first = np.ascontiguousarray(hashes).view(np.uint8).reshape(-1, 16)[:, 0]
        chosen = [texts[place] for place in np.flatnonzero(first % SAMPLED == 0)]
        if chosen:
            self._sample += [*script_counts(chosen), len(chosen), sum(map(len, chosen))]

    def store(self, writer: PartWriter) -> None:
        """Put the counts into the task's part."""
        used = np.flatnonzero(self._tokens)
        packed = np.zeros(len(used), COUNT)
        packed["id"], packed["count"] = used, self._tokens[used]
        writer.add_array(TOKEN_COUNTS, packed)
        writer.add_array(SAMPLE, self._sample[None])


def sample_totals(parts: list[Part]) -> dict[str, int]:
    """Sums over the sampled documents of all parts, by the names of SAMPLE_FIELDS."""
    total = np.zeros(len(SAMPLE_FIELDS), np.int64)
    for part in parts:
        stored = part.array(SAMPLE)
        if stored is not None:
            total += stored.sum(axis=0)
    return dict(zip(SAMPLE_FIELDS, total.tolist(), strict=True))


def count_groups(
    part: Part,
    lengths: npt.NDArray[np.integer],
    groups: npt.NDArray[np.integer],
    number: int,
    dtype: np.dtype[np.generic],
    vocab_size: int,
) -> Counts:
    """Occurrences of each token in each group of documents of one part, shape (number, vocab_size).

    `lengths` (n,) are the documents' tokens, `groups` (n,) the group of each, in [0, number).
    """
    result = np.zeros((number, vocab_size), np.int64)
    if not len(lengths):
        return result
    tokens = part.tokens(dtype).view(np.ndarray)  # slices of a memory map are slow to make
    weights = np.bincount(groups, lengths, number)
    largest = int(weights.argmax())
    for group in np.flatnonzero(weights).tolist():
        if group != largest:
            for run in _runs(tokens, lengths, groups == group):
                result[group] += np.bincount(run, minlength=vocab_size)
    stored = part.array(TOKEN_COUNTS)
    assert stored is not None, "mapping stores the token counts of every part"
    result[largest] -= result.sum(axis=0)
    result[largest][stored["id"]] += stored["count"].astype(np.int64)
    return result


def _runs(
    tokens: npt.NDArray[np.generic], lengths: npt.NDArray[np.integer], chosen: npt.NDArray[np.bool_]
) -> Iterator[npt.NDArray[np.generic]]:
    """The tokens of the `chosen` documents, about a million at a time."""
    ends = np.cumsum(lengths, dtype=np.int64)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(np.int8))).reshape(-1, 2)
    pieces, size = [], 0
    for first, last in edges.tolist():
        start, end = int(ends[first] - lengths[first]), int(ends[last - 1])
        for at in range(start, end, _RUN_TOKENS):
            pieces.append(tokens[at : min(at + _RUN_TOKENS, end)])
            size += len(pieces[-1])
            if size >= _RUN_TOKENS:
                yield np.concatenate(pieces)
                pieces, size = [], 0
    if pieces:
        yield np.concatenate(pieces)
