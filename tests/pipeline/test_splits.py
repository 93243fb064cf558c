"""Splits and weights by content hash: shares, caps, minima, and a plain rewriting."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.publishing.splits import TEST, TRAIN, VAL, assign_splits, repetitions, split_keys

KEYS = st.lists(st.floats(0, 1, exclude_max=True), max_size=40)


def plain(keys: list[float], tokens: list[int], val: float, test: float, most: int) -> list[int]:
    """The rule, one document at a time."""
    result = [TRAIN] * len(keys)
    order = sorted(range(len(keys)), key=lambda n: (keys[n], n))
    for split, fraction, low in ((VAL, val, 0.0), (TEST, test, val)):
        if not fraction:
            continue
        inside = [n for n in order if low <= keys[n] < low + fraction and result[n] == TRAIN]
        inside = inside or [n for n in order if result[n] == TRAIN][:1]
        total = 0
        for place, n in enumerate(inside):
            total += tokens[n]
            if (total > most and place > 0) or result.count(TRAIN) == 1:
                break
            result[n] = split
    return result


@given(KEYS, st.sampled_from([0.0, 0.1, 0.3, 0.6]), st.sampled_from([0.0, 0.05, 0.3]), st.integers(1, 60))
def test_equals_the_plain_rule(keys: list[float], val: float, test: float, most: int) -> None:
    tokens = [1 + n * 7 % 13 for n in range(len(keys))]
    got = assign_splits(np.array(keys, np.float64), np.array(tokens, np.uint32), val, test, most)
    assert got.tolist() == plain(keys, tokens, val, test, most)


def hashes(count: int) -> npt.NDArray[np.uint64]:
    return np.frombuffer(b"".join(hashlib.sha256(b"%d" % n).digest()[:8] for n in range(count)), "<u8")


def test_keys_are_even_and_their_purposes_unrelated() -> None:
    split, weight = split_keys(hashes(20_011), 1), split_keys(hashes(20_011), 1, "weight")
    for keys in (split, weight):
        assert ((keys >= 0) & (keys < 1)).all()
        assert abs(np.histogram(keys, 10, (0, 1))[0] - 2001).max() < 200
    assert (split != weight).any() and (split != split_keys(hashes(20_011), 2)).any()


@pytest.mark.parametrize("weight", [0.1, 0.5, 1.0, 1.25, 2.0, 3.7])
def test_repetitions_average_to_the_weight(weight: float) -> None:
    keys = split_keys(hashes(20_011), 3, "weight")
    times = repetitions(keys, weight)
    assert set(times.tolist()) <= {int(weight), int(weight) + 1}
    assert abs(times.mean() - weight) < 0.015
    assert (times >= repetitions(keys, weight / 2)).all()  # a larger weight takes what a smaller one took
