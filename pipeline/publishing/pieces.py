"""Cut documents longer than `max_length` into pieces that lose nothing.

Every piece holds at most `max_length` tokens and ends with the terminator, if the dataset has one; the pieces of a
document are neighbours, carry the same record, and all but the last are exactly `max_length` tokens long. Without
their terminators they concatenate to the document's tokens. Spans and sentences are cut along.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.publishing.runs import Run
from shards.documents import Rows


def cut(run: Run, max_length: int, terminator: int) -> Run:
    """The documents of `run` as pieces; `terminator` tokens (0 or 1) end every document. The text bytes of a document
    are counted with its first piece."""
    capacity = max_length - terminator
    assert capacity > 0
    lengths = run.lengths.astype(np.int64)
    counts = np.maximum(1, -(-(lengths - terminator) // capacity))
    if (counts == 1).all():
        return run
    owner = np.repeat(np.arange(len(counts)), counts)
    first = np.cumsum(counts) - counts  # number of each document's first piece
    nth = np.arange(len(owner)) - first[owner]
    tokens = run.tokens
    if terminator:
        offsets = np.cumsum(lengths) - lengths
        inner = nth < counts[owner] - 1
        tokens = np.insert(tokens, (offsets[owner] + (nth + 1) * capacity)[inner], tokens[lengths[0] - 1])
    return Run(
        tokens,
        (np.minimum(capacity, lengths[owner] - terminator - nth * capacity) + terminator).astype(np.int32),
        run.records[owner],
        np.where(nth == 0, run.text_bytes[owner], 0).astype(np.uint32),
        {name: _cut_rows(rows, name, first, counts, capacity) for name, rows in run.extras.items()},
    )


def _cut_rows(
    rows: Rows, name: str, first: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], capacity: int
) -> Rows:
    """The rows by piece: each is divided among the pieces it lies in."""
    document, end = rows["document"].astype(np.int64), rows["end"].astype(np.int64)
    if name == "spans":
        start = rows["start"].astype(np.int64)
    else:
        start = np.where(np.diff(document, prepend=-1) > 0, 0, np.concatenate([[0], end[:-1]])[: len(end)])
    last_piece = counts[document] - 1
    low = np.minimum(start // capacity, last_piece)
    high = np.minimum(np.maximum(end - 1, start) // capacity, last_piece)
    repeat = high - low + 1
    origin = np.repeat(np.arange(len(rows)), repeat)
    piece = low[origin] + np.arange(len(origin)) - np.repeat(np.cumsum(repeat) - repeat, repeat)
    base = piece * capacity
    result = np.zeros(len(origin), rows.dtype)
    result["document"] = first[document[origin]] + piece
    result["end"] = np.where(piece < last_piece[origin], np.minimum(end[origin] - base, capacity), end[origin] - base)
    if name != "spans":
        return result
    result["start"] = np.maximum(start[origin] - base, 0)
    return _with_empty(result, np.unique(document), first, counts)


def _with_empty(
    rows: Rows, documents: npt.NDArray[np.int64], first: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]
) -> Rows:
    """`rows` and an empty one for each piece of `documents` that has none: nothing counts there."""
    repeat = counts[documents]
    pieces = (
        np.repeat(first[documents], repeat) + np.arange(repeat.sum()) - np.repeat(np.cumsum(repeat) - repeat, repeat)
    )
    missing = np.setdiff1d(pieces, rows["document"])
    empty = np.zeros(len(missing), rows.dtype)
    empty["document"] = missing
    together = np.concatenate([rows, empty])
    return together[np.argsort(together["document"], kind="stable")]
