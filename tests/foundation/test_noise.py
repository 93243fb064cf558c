"""Stateless noise: SplitMix64's own numbers, even, and the same in any company."""

from __future__ import annotations

import numpy as np
import pytest

from foundation import noise


def test_the_sequences_are_those_of_splitmix64():
    """The first outputs of the reference (Vigna, splitmix64.c) for the seed 1234567."""
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    state, found = 1234567, []
    for _ in expected:
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        found.append(int(noise.mix(np.array([state], np.uint64))[0]))
    assert found == expected


def test_a_number_has_the_same_words_in_any_company():
    numbers = np.array([5, 0, 2**40, 7])
    together = noise.words(3, "name", numbers, 9)
    assert together.shape == (4, 9)
    alone = np.concatenate([noise.words(3, "name", numbers[i : i + 1], 12)[:, :9] for i in range(4)])
    np.testing.assert_array_equal(together, alone)
    others = [noise.words(4, "name", numbers, 9), noise.words(3, "other", numbers, 9)]
    assert all((together != other).all() for other in others)


def test_numbers_are_even_and_do_not_depend_on_each_other():
    random = noise.words(1, "even", np.arange(2000), 100)
    assert len(np.unique(random)) == random.size
    seen = np.bincount(noise.below(random, 20).ravel(), minlength=20)
    assert ((seen - 10_000) ** 2 / 10_000).sum() < 50  # chi-squared, 19 degrees of freedom: 1e-4 lies beyond 50
    numbers = noise.uniform(random)
    assert numbers.min() >= 0 and numbers.max() < 1 and numbers.mean() == pytest.approx(0.5, abs=4 * 0.289 / 447)
    for axis in (0, 1):
        one, next_one = np.delete(numbers, -1, axis), np.delete(numbers, 0, axis)
        assert abs(np.corrcoef(one.ravel(), next_one.ravel())[0, 1]) < 4 / 447
