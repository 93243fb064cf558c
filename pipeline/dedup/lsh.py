"""Locality-sensitive hashing of MinHash signatures by bands (Leskovec, Rajaraman and Ullman, Mining of Massive
Datasets, section 3.4): documents that agree in all rows of a band are candidates, compared by their whole signatures.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

LEAST_ROWS, MOST_ROWS = 4, 8
USUAL_BANDS = 13
FOUND_AT_THRESHOLD = 0.9
CHANCE = 1 / 256
"""Probability that 8-bit values of different shingles agree."""


class Bands(NamedTuple):
    """`number` bands of `rows` values of a signature each."""

    number: int
    rows: int


def choose_bands(permutations: int, threshold: float) -> Bands:
    """As many rows as possible (fewer false candidates) such that a pair at the threshold becomes a candidate with
    probability FOUND_AT_THRESHOLD at least: 1 - (1 - threshold^rows)^number. Pairs above it are found more surely. Each
    band costs a pass over all documents, so there are USUAL_BANDS unless these would have fewer than LEAST_ROWS."""
    for most, least_rows in ((USUAL_BANDS, LEAST_ROWS), (permutations, 1)):
        for rows in range(MOST_ROWS, least_rows - 1, -1):
            number = min(most, permutations // rows)
            if 1 - (1 - threshold**rows) ** number >= FOUND_AT_THRESHOLD:
                return Bands(number, rows)
    return Bands(permutations, 1)


def needed_agreement(permutations: int, threshold: float) -> int:
    """Values that two signatures must have in common to count as similar: those of the threshold, and what agrees by
    chance."""
    return int(np.ceil(permutations * (threshold + (1 - threshold) * CHANCE) - 1e-9))


def band_keys(signatures: npt.NDArray[np.uint8], bands: Bands) -> npt.NDArray[np.uint32]:
    """A hash of each band of the signatures (n, P), shape (bands.number, n)."""
    n = len(signatures)
    rows = np.zeros((n, bands.number, 8), np.uint8)
    rows[:, :, : bands.rows] = signatures[:, : bands.number * bands.rows].reshape(n, bands.number, bands.rows)
    packed = rows.view("<u8")[:, :, 0].T.astype(np.uint64)
    packed ^= packed >> np.uint64(29)
    packed *= np.uint64(0x9E3779B97F4A7C15)
    return (packed >> np.uint64(32)).astype(np.uint32)


def agreement(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """How many values each pair of signatures (n, P) has in common, shape (n,)."""
    return np.asarray(np.count_nonzero(first == second, axis=1))
