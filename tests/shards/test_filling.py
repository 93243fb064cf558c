"""Filled rows: every token in one piece, no row too full, and rests cut only where that saves rows."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shards.filling import WORTH, fill_rows


def pieces_by_row(packed: np.ndarray, sizes: np.ndarray) -> list[list[tuple[int, int]]]:
    return [part.tolist() for part in np.split(packed, np.cumsum(sizes)[:-1])]


@given(
    st.lists(st.integers(0, 70), min_size=1, max_size=60),
    st.integers(4, 40),
    st.sampled_from([0, 2, 3]),
    st.sampled_from([0, 1, 5]),
)
@example([35, 47, 59, 59, 59, 68, 70], 4, 0, 1)
@settings(max_examples=200, deadline=None)
def test_every_token_is_in_one_piece(lengths: list[int], capacity: int, frame: int, smallest: int):
    if not frame:
        lengths = [length or 1 for length in lengths]  # an empty piece takes no place at all
    starts = np.cumsum([7, *(length + 1 for length in lengths)])[:-1]  # a gap behind each: no piece may span two
    packed, sizes = fill_rows(starts, np.array(lengths), capacity, frame, smallest)
    rows = pieces_by_row(packed, sizes)
    assert all(sum(length + frame for _, length in row) <= capacity for row in rows) and all(rows)
    covered = sorted(token for row in rows for start, length in row for token in range(start, start + length))
    expected = [t for start, n in zip(starts.tolist(), lengths, strict=True) for t in range(start, start + n)]
    assert covered == expected
    room = capacity - frame
    plain, plain_sizes = fill_rows(starts, np.array(lengths), capacity, frame)
    whole = {(start, n) for start, n in zip(starts.tolist(), lengths, strict=True) if n <= room}
    assert whole <= set(map(tuple, packed.tolist()))  # what fits a row is never cut
    if len(packed) != len(plain):
        full = sum(length // room for length in lengths)  # rows that one piece fills: nothing is cut there
        assert len(sizes) - full <= (1 - WORTH) * (len(plain_sizes) - full)
    before = set(map(tuple, plain.tolist()))
    assert all(length >= smallest for start, length in packed.tolist() if (start, length) not in before)


def test_long_documents_fill_what_half_rows_leave():
    """Documents of 60 of 100 places, one a row; long ones of 250 fill the rest."""
    lengths = np.array([60] * 40 + [250] * 20)
    starts = np.cumsum(lengths) - lengths
    plain, filled = (fill_rows(starts, lengths, 100, 2, smallest)[1] for smallest in (0, 16))
    assert len(plain) == 40 + 20 * 3  # two whole rows of each long document, and 54 that fit nowhere
    tokens = lengths.sum()
    assert len(filled) < 90 and tokens / (len(filled) * 100) > 0.87 > tokens / (len(plain) * 100)
