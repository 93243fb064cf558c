"""Hashes of what a batch's documents hold, and which of them a document has twice."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Places

Hashes = npt.NDArray[np.uint64]
_MULTIPLIERS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5)  # odd, 64 bits


def mix(parts: Iterable[npt.NDArray[np.integer]]) -> Hashes:
    """A 64-bit hash of the numbers that `parts`, of shape (m,) each, hold at each place, (m,)."""
    mixed = None
    for number, part in enumerate(parts):
        mixed = part.astype(np.uint64) if mixed is None else mixed ^ part.astype(np.uint64)
        mixed *= np.uint64(_MULTIPLIERS[number % len(_MULTIPLIERS)])
        mixed ^= mixed >> np.uint64(29)
    assert mixed is not None
    return mixed


def repeated_in_document(hashes: Hashes, documents: Places, n: int) -> Places:
    """For each hash that its document (one of `n`) had before: the document's number, rising."""
    suspects = _not_alone(hashes, documents)
    hashes, documents = hashes[suspects], documents[suspects]
    bits = np.uint64(max(1, n).bit_length())
    shift = np.uint64(64) - bits
    keys = np.sort((documents.astype(np.uint64) << shift) | (hashes >> bits))
    found: Places = (keys[1:][keys[1:] == keys[:-1]] >> shift).astype(np.int64)
    return found


def _not_alone(hashes: Hashes, documents: Places) -> Places:
    """Places of the hashes that may stand twice in their document: all that do, with a few others. Each writes its
    number into a slot of a table; where another stands in the end, the slot has several. Sorting all takes eight times
    as long."""
    bits = max(10, (8 * len(hashes)).bit_length())
    keys = documents.astype(np.uint64) * np.uint64(_MULTIPLIERS[0])
    keys += hashes
    slots = (keys >> np.uint64(64 - bits)).astype(np.int64)
    numbers = np.arange(len(hashes))
    table = np.empty(1 << bits, np.int64)
    table[slots] = numbers
    shared = np.zeros(1 << bits, np.bool_)
    shared[slots[table[slots] != numbers]] = True
    return np.flatnonzero(shared[slots])
