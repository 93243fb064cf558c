"""Exact deduplication over content hashes: the first document in input order survives."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def first_equal(hashes: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """For 128-bit hashes (n, 2) in input order: the places of those that occurred before, ascending, and the place of
    the first equal one of each. Sorts one 64-bit half; the rest looks only at what repeats in it. 24 n bytes."""
    half = np.sort(hashes[:, 0])
    repeated = half[1:][half[1:] == half[:-1]]
    if not len(repeated):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    near = np.minimum(np.searchsorted(repeated, hashes[:, 0]), len(repeated) - 1)
    suspects = np.flatnonzero(repeated[near] == hashes[:, 0])
    order = suspects[np.lexsort((hashes[suspects, 1], hashes[suspects, 0]))]  # stable: equal ones in input order
    same = np.zeros(len(order), np.bool_)
    same[1:] = (hashes[order[1:]] == hashes[order[:-1]]).all(axis=1)
    heads = np.maximum.accumulate(np.where(same, 0, np.arange(len(order))))
    duplicates = order[same]
    ascending = np.argsort(duplicates)
    return duplicates[ascending], order[heads[same]][ascending]
