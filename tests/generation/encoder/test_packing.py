"""Packed rows hold every piece once, whole and apart from the others."""

from __future__ import annotations

from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from generation.encoder.packing import POSITIONS, pack

PAD = 10**6


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(1, 5))
def test_every_piece_is_there_once(lengths: list[int], most_rows: int) -> None:
    pieces = [[number * 100 + place for place in range(length)] for number, length in enumerate(lengths)]
    seen: list[int] = []
    for rows in pack(pieces, most_rows, PAD):
        flat, borders = rows.tokens.flatten(), rows.segments.tolist()
        assert rows.tokens.shape[0] <= most_rows and rows.tokens.shape[1] == max(lengths)
        assert borders[0] == 0 and borders[-1] == flat.numel() and borders == sorted(set(borders))
        assert set(range(0, flat.numel(), max(lengths))) <= set(borders)  # every row starts a piece
        spans = list(pairwise(borders))
        for place, which in zip(rows.places.tolist(), rows.which, strict=True):
            stop = dict(spans)[place]
            assert flat[place:stop].tolist() == pieces[which]
        padding = [span for span in spans if span[0] not in rows.places.tolist()]
        assert all(bool((flat[a:b] == PAD).all()) for a, b in padding)
        seen += rows.which
    assert sorted(seen) == list(range(len(lengths)))


def test_little_is_padding() -> None:
    lengths = torch.randint(1, 200, (500,), generator=torch.Generator().manual_seed(0)).tolist()
    batches = list(pack([[1] * length for length in lengths], 16, PAD))
    positions = sum(rows.tokens.numel() for rows in batches)
    assert sum(lengths) / positions > 0.97
    assert sum(len(rows.which) for rows in batches) == 500


def test_a_batch_of_long_rows_has_few() -> None:
    batches = list(pack([[1] * (POSITIONS // 2)] * 5, 16, PAD))
    assert [rows.tokens.shape[0] for rows in batches] == [2, 2, 1]
