"""The stateless order: a permutation for every (seed, epoch, size), fixed for ever, and well mixed."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.order import permute


def whole(size: int, seed: int = 1, epoch: int = 0) -> np.ndarray:
    return permute(np.arange(size), size, seed, epoch)


@given(st.integers(1, 5000), st.integers(0, 2**40), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_it_is_a_permutation(size: int, seed: int, epoch: int):
    assert np.array_equal(np.sort(whole(size, seed, epoch)), np.arange(size))


@pytest.mark.parametrize("size", [*range(1, 40), 63, 64, 65, 4095, 4096, 4097])
def test_it_is_a_permutation_at_small_sizes_and_around_powers_of_two(size: int):
    assert np.array_equal(np.sort(whole(size)), np.arange(size))


def plain(position: int, size: int, seed: int, epoch: int) -> int:
    """The same network on Python's own integers, from its description."""
    key = [
        int.from_bytes(hashlib.sha256(f"{seed}\0str:order\0int:{epoch}\0int:{i}".encode()).digest()[:8], "little") >> 1
        for i in range(6)
    ]

    def mix(value: int, number: int) -> int:
        value ^= key[number]
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
        return value ^ (value >> 31)

    bits = max(2, (size - 1).bit_length())
    low_size, high_size = 2 ** (bits // 2), 2 ** (bits - bits // 2)
    while True:
        high, low = divmod(position, low_size)
        for number in (0, 2, 4):
            high = high ^ (mix(low, number) % high_size)
            low = low ^ (mix(high, number + 1) % low_size)
        position = high * low_size + low
        if position < size:
            return position


@given(st.integers(1, 2**50), st.integers(0, 9), st.integers(0, 9), st.data())
@settings(max_examples=60, deadline=None)
def test_it_is_the_network_that_its_description_says(size: int, seed: int, epoch: int, data: st.DataObject):
    positions = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=5))
    expected = [plain(position, size, seed, epoch) for position in positions]
    assert permute(np.array(positions), size, seed, epoch).tolist() == expected


def test_golden_values():
    """A change of these changes the order of every run: a resumed run would see other samples."""
    assert whole(11, seed=1234, epoch=0).tolist() == [2, 7, 6, 5, 4, 8, 1, 0, 9, 10, 3]
    assert permute(np.array([0, 1, 999_999]), 1_000_003, 7, 5).tolist() == [830985, 303303, 387392]


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_one_position_does_not_depend_on_the_others(data: st.DataObject):
    size = data.draw(st.integers(1, 3000))
    positions = np.array(data.draw(st.lists(st.integers(0, size - 1), max_size=20)), np.int64)
    np.testing.assert_array_equal(permute(positions, size, 3, 2), whole(size, 3, 2)[positions])


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = [whole(1009, seed, epoch) for seed in range(4) for epoch in range(4)]
    for place, one in enumerate(orders):
        for two in orders[:place]:
            assert np.count_nonzero(one == two) < 12  # one is expected by chance


@pytest.mark.parametrize("size", [1009, 4096, 9973])
def test_it_looks_shuffled(size: int):
    order = whole(size, 42).astype(float)
    bound = 4.5 / np.sqrt(size)  # in standard deviations of a random permutation
    assert abs(np.corrcoef(order, np.arange(size))[0, 1]) < bound
    for lag in (1, 2, 16, 64):
        assert abs(np.corrcoef(order[:-lag], order[lag:])[0, 1]) < bound
    gaps = np.diff(order)
    assert 0.45 < np.count_nonzero(gaps > 0) / len(gaps) < 0.55
    assert np.count_nonzero(gaps == 1) < 8  # neighbours that stay neighbours: one by chance


def test_every_place_is_reached_from_every_position():
    """Over many seeds, position 0 of 7 lands everywhere about equally often (chi-squared, 6 degrees, p = 1e-4)."""
    counts = np.bincount([int(permute(np.array([0]), 7, seed, 0)[0]) for seed in range(1400)], minlength=7)
    assert ((counts - 200) ** 2 / 200).sum() < 27.9


def test_huge_sizes_need_no_memory():
    size = 2**45 + 7
    images = permute(np.arange(1000) + 2**44, size, 1, 1)
    assert len(set(images.tolist())) == 1000 and (images >= 0).all() and (images < size).all()
    assert images.std() > size / 8
