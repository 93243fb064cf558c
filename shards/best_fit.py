"""Best-fit decreasing: put pieces of different lengths into few rows of one length.

Each piece, the longest first, goes into the row with the least room that still takes it (Johnson, "Near-optimal bin
packing algorithms", 1973; for language models Ding et al., "Fewer Truncations Improve Language Modeling", 2024).
"""

from __future__ import annotations

from bisect import bisect_left, insort

import numpy as np
import numpy.typing as npt


class Rows:
    """Rows of `capacity` by the room that is left in them."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._by_room: dict[int, list[npt.NDArray[np.int64]]] = {}
        self._rooms: list[int] = []  # ascending: the keys of `_by_room`
        self.opened = 0

    @property
    def largest(self) -> int:
        """The most room that an opened row has."""
        return self._rooms[-1] if self._rooms else 0

    def take(self, length: int, pieces: int) -> tuple[npt.NDArray[np.int64], int]:
        """Rows of one room, the least that takes `length`: as many as `pieces` pieces fill, or fewer."""
        place = bisect_left(self._rooms, length)
        if place == len(self._rooms):
            count = -(-pieces // (self._capacity // length))
            self.opened += count
            return np.arange(self.opened - count, self.opened), self._capacity
        room = self._rooms[place]
        groups, wanted, taken = self._by_room[room], -(-pieces // (room // length)), []
        while groups and wanted:
            group = groups.pop()
            if len(group) > wanted:
                groups.append(group[wanted:])
                group = group[:wanted]
            wanted -= len(group)
            taken.append(group)
        if not groups:
            del self._by_room[room], self._rooms[place]
        return taken[0] if len(taken) == 1 else np.concatenate(taken), room

    def put(self, rows: npt.NDArray[np.int64], room: int) -> None:
        """`rows` have `room` left."""
        if not room or not len(rows):
            return
        if room not in self._by_room:
            self._by_room[room] = []
            insort(self._rooms, room)
        self._by_room[room].append(rows)


def best_fit(lengths: npt.NDArray[np.int64], capacity: int, rows: Rows | None = None) -> npt.NDArray[np.int64]:
    """The row of each piece (n,), numbered from 0; `lengths` (n,) lie in [1, capacity]. `rows` are filled further.

    Rows with the same room are served together, so the cost grows with the number of different lengths and rooms; O(n)
    array work comes on top.
    """
    assert len(lengths) == 0 or (lengths.min() >= 1 and lengths.max() <= capacity)
    order = np.argsort(-lengths, kind="stable")
    values, counts = np.unique(lengths, return_counts=True)
    row_of = np.empty(len(lengths), np.int64)
    rows, done = rows or Rows(capacity), 0
    for length, count in zip(values[::-1].tolist(), counts[::-1].tolist(), strict=True):
        end = done + count
        while done < end:
            chosen, room = rows.take(length, end - done)
            each = room // length  # a row that took one piece has the least room now, and takes the next if it can
            placed = min(len(chosen) * each, end - done)
            row_of[order[done : done + placed]] = np.repeat(chosen, each)[:placed]
            full, rest = divmod(placed, each)
            rows.put(chosen[:full], room - each * length)
            if rest:
                rows.put(chosen[full:], room - rest * length)
            done += placed
    return row_of
