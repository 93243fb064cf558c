"""Chance without state: 64 random bits for each (seed, name, number, place), many at once.

SplitMix64 (Steele et al., "Fast splittable pseudorandom number generators", 2014) in counter mode: each number starts a
sequence of its own. For chance that belongs to a sample and must not depend on which samples came before; other chance
comes from `foundation.streams`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from foundation.streams import derive_seed

Words = npt.NDArray[np.uint64]
_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def mix(value: Words) -> Words:
    """SplitMix64's finaliser: a bijection in which each bit of `value` decides each bit of the result."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@lru_cache(maxsize=64)
def _key(seed: int, name: str) -> np.uint64:
    return np.uint64(derive_seed(seed, name))


def words(seed: int, name: str, numbers: npt.NDArray[np.int64], count: int) -> Words:
    """`count` random words for each of `numbers` (n,), shape (n, count); a larger `count` only adds to them."""
    starts = mix(numbers.astype(np.uint64) ^ _key(seed, name))
    return mix(starts[:, None] + np.arange(1, count + 1, dtype=np.uint64) * _GAMMA)


def uniform(random: Words) -> npt.NDArray[np.float64]:
    """Random words as numbers in [0, 1)."""
    return (random >> np.uint64(11)).astype(np.float64) * 2.0**-53


def below(random: Words, limit: int) -> npt.NDArray[np.int64]:
    """Random words as whole numbers in [0, limit), from their upper halves; `limit` is far below 2**32, else the
    numbers are not evenly likely (Lemire, "Fast random integer generation in an interval", 2019)."""
    return ((random >> np.uint64(32)) * np.uint64(limit) >> np.uint64(32)).astype(np.int64)
