"""Fill the rows of a plan: documents longer than a row are cut, and all pieces packed by best fit.

The whole rows of a long document stand alone; its rest is packed with others. Where that leaves too much room (longer
documents than half a row find few partners), rests are cut once more into what fits.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shards.best_fit import Rows, best_fit

PIECE = np.dtype([("start", "<i8"), ("length", "<i4")])
WORTH = 0.01
"""Cutting rests must save this share of the rows, else it is left."""

Integers = npt.NDArray[np.int64]
Placed = tuple[Integers, Integers, Integers]  # start, length and row of each piece


def fill_rows(
    starts: Integers, lengths: Integers, capacity: int, frame: int = 0, smallest: int = 0
) -> tuple[npt.NDArray[np.void], Integers]:
    """The pieces (n,) of documents, row after row, and the number of pieces in each row.

    A document begins at `starts` (m,) and has `lengths` (m,) tokens; a piece takes `frame` places of a row besides its
    tokens. Rests are cut into pieces of `smallest` tokens or more, with 0 never.
    """
    room = capacity - frame
    whole, rest = lengths // room, lengths % room
    first = np.repeat(np.cumsum(whole) - whole, whole)  # number of the document's first whole row, at each of them
    full_starts = np.repeat(starts, whole) + (np.arange(int(whole.sum())) - first) * room
    partial = np.flatnonzero((rest > 0) | (lengths == 0))
    placed = _packed(
        starts[partial] + whole[partial] * room, rest[partial], whole[partial] > 0, capacity, frame, smallest
    )
    order = np.argsort(placed[2], kind="stable")
    pieces = np.empty(len(full_starts) + len(order), PIECE)
    pieces["start"] = np.concatenate([full_starts, placed[0][order]])
    pieces["length"] = np.concatenate([np.full(len(full_starts), room), placed[1][order]])
    return pieces, np.concatenate([np.ones(len(full_starts), np.int64), np.bincount(placed[2])])


def _packed(
    starts: Integers, lengths: Integers, rests: npt.NDArray[np.bool_], capacity: int, frame: int, smallest: int
) -> Placed:
    """Pieces of less than a row; those of `rests` (n,) may be cut."""
    row_of = best_fit(lengths + frame, capacity)
    plain = starts, lengths, row_of
    if not smallest or not rests.any():
        return plain
    rows = int(row_of.max()) + 1
    if 1 - (int(lengths.sum()) + frame * len(lengths)) / (rows * capacity) < WORTH:
        return plain
    cut = _cut_to_fit(starts, lengths, rests, capacity, frame, smallest)
    return cut if int(cut[2].max()) + 1 <= (1 - WORTH) * rows else plain


def _cut_to_fit(
    starts: Integers, lengths: Integers, rests: npt.NDArray[np.bool_], capacity: int, frame: int, smallest: int
) -> Placed:
    """Pack the others first; a rest that fits no row then is cut to fill the emptiest. Costs one step a piece."""
    rows = Rows(capacity)
    row_of = best_fit(lengths[~rests] + frame, capacity, rows)
    found: list[tuple[int, int, int]] = []
    loose = np.flatnonzero(rests)
    for piece in loose[np.argsort(-lengths[loose], kind="stable")].tolist():
        start, length = int(starts[piece]), int(lengths[piece])
        while length:
            part = length
            if rows.largest < length + frame:
                part = min(rows.largest - frame, length - smallest)
                part = part if part >= smallest else length
            taken, room = rows.take(rows.largest if part < length else length + frame, 1)
            rows.put(taken, room - part - frame)
            found.append((start, part, int(taken[0])))
            start, length = start + part, length - part
    more = np.array(found, np.int64).reshape(-1, 3)
    return (
        np.concatenate([starts[~rests], more[:, 0]]),
        np.concatenate([lengths[~rests], more[:, 1]]),
        np.concatenate([row_of, more[:, 2]]),
    )
