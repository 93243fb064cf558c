"""Pieces of many lengths in rows that hardly need padding: best fit, the longest first.

B rows a batch, T tokens a row, N pieces.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

POSITIONS = 16384
"""The most tokens of a batch, padding included, unless one row has more."""


@dataclass(frozen=True)
class Rows:
    """Some of the pieces, packed. What a row lacks is padding, a piece of its own."""

    tokens: Tensor  # (B, T) int64
    segments: Tensor  # (pieces + 1,) int32, the borders of all pieces in the flattened rows, see model.documents
    places: Tensor  # (N,) int64, where each text's piece begins in the flattened rows
    which: list[int]  # (N,) which of the pieces these are

    def to(self, device: torch.device) -> Rows:
        """The same on a device."""
        return Rows(self.tokens.to(device), self.segments.to(device), self.places.to(device), self.which)


def pack(pieces: Sequence[Sequence[int]], rows: int, pad: int) -> Iterator[Rows]:
    """Batches of at most `rows` rows that hold every piece once.

    A row is as long as the longest piece. Costs O(n log n).
    """
    if not pieces:
        return
    length = max(len(piece) for piece in pieces)
    plan = _best_fit([len(piece) for piece in pieces], length)
    count = max(1, min(rows, POSITIONS // length))
    for first in range(0, len(plan), count):
        yield _batch(plan[first : first + count], pieces, length, pad)


def _best_fit(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Which pieces share a row: each goes where it leaves the least, into a new row where it fits nowhere."""
    plan: list[list[int]] = []
    left: list[tuple[int, int]] = []  # (free tokens, row), ascending
    for piece in sorted(range(len(lengths)), key=lambda piece: -lengths[piece]):
        place = bisect_left(left, (lengths[piece], 0))
        if place < len(left):
            free, row = left.pop(place)
        else:
            free, row = room, len(plan)
            plan.append([])
        plan[row].append(piece)
        if free > lengths[piece]:
            insort(left, (free - lengths[piece], row))
    return plan


def _batch(plan: Sequence[Sequence[int]], pieces: Sequence[Sequence[int]], length: int, pad: int) -> Rows:
    tokens = torch.full((len(plan), length), pad, dtype=torch.int64)
    borders, places, which = [], [], []
    for row, members in enumerate(plan):
        start = 0
        for piece in members:
            ids = pieces[piece]
            tokens[row, start : start + len(ids)] = torch.tensor(ids)
            places.append(row * length + start)
            borders.append(row * length + start)
            which.append(piece)
            start += len(ids)
        if start < length:
            borders.append(row * length + start)
    borders.append(len(plan) * length)
    return Rows(tokens, torch.tensor(borders, dtype=torch.int32), torch.tensor(places), which)
