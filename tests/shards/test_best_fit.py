"""Best-fit packing against the algorithm written plainly, one piece after the other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.best_fit import best_fit


def plainly(lengths: list[int], capacity: int) -> list[int]:
    """The room left in each row, sorted."""
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [room for room in rooms if room >= length]
        if fitting:
            rooms.remove(min(fitting))
            rooms.append(min(fitting) - length)
        else:
            rooms.append(capacity - length)
    return sorted(rooms)


@given(st.integers(1, 29), st.data())
@settings(max_examples=200, deadline=None)
def test_rows_are_those_of_the_plain_algorithm(capacity: int, data: st.DataObject):
    lengths = np.array(data.draw(st.lists(st.integers(1, capacity), max_size=80)), np.int64)
    rows = best_fit(lengths, capacity)
    filled = np.bincount(rows, weights=lengths, minlength=0).astype(int) if len(rows) else np.zeros(0, int)
    assert sorted((capacity - filled).tolist()) == plainly(lengths.tolist(), capacity)


def test_a_hundred_thousand_pieces_leave_little_room():
    generator = np.random.default_rng(0)
    lengths = np.exp(generator.uniform(np.log(5), np.log(1024), 100_000)).astype(np.int64)
    rows = best_fit(lengths, 1024)
    count = rows.max() + 1
    assert np.bincount(rows, weights=lengths).max() <= 1024
    assert 1 - lengths.sum() / (count * 1024) < 0.01


def test_a_piece_that_fits_no_row_is_a_fault_of_ours():
    with pytest.raises(AssertionError):
        best_fit(np.array([9]), 8)
    assert len(best_fit(np.zeros(0, np.int64), 8)) == 0
