"""The stateless order of samples: a keyed permutation of 0 … n-1 that needs no memory and no state.

An alternating Feistel network over the smallest power of two that holds n, with cycle walking for what falls outside
(Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002). Costs O(1) a sample, vectorised.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from foundation.noise import mix
from foundation.streams import derive_seed

ROUNDS = 6


@lru_cache(maxsize=64)
def _round_keys(seed: int, epoch: int) -> tuple[np.uint64, ...]:
    return tuple(np.uint64(derive_seed(seed, "order", epoch, i)) for i in range(ROUNDS))


def permute(positions: npt.NDArray[np.int64], size: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Images of `positions` (n,), each in [0, size), under the permutation of `epoch`; shape (n,) int64."""
    assert size > 0
    bits = max(2, (size - 1).bit_length())
    low_bits = np.uint64(bits // 2)
    high_bits = np.uint64(bits - bits // 2)
    keys = _round_keys(seed, epoch)
    result = _encrypt(positions.astype(np.uint64), low_bits, high_bits, keys)
    outside = np.flatnonzero(result >= size)
    while len(outside):
        result[outside] = _encrypt(result[outside], low_bits, high_bits, keys)
        outside = outside[result[outside] >= size]
    return result.astype(np.int64)


def _encrypt(
    value: npt.NDArray[np.uint64], low_bits: np.uint64, high_bits: np.uint64, keys: tuple[np.uint64, ...]
) -> npt.NDArray[np.uint64]:
    one = np.uint64(1)
    low_mask, high_mask = (one << low_bits) - one, (one << high_bits) - one
    low, high = value & low_mask, value >> low_bits
    for number, key in enumerate(keys):
        if number % 2:
            low = low ^ (mix(high ^ key) & low_mask)
        else:
            high = high ^ (mix(low ^ key) & high_mask)
    return (high << low_bits) | low
