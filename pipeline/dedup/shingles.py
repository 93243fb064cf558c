"""Shingles: hashes of the word n-grams of documents."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.dedup.words import Hashes, word_hashes

_FACTOR = {np.dtype(np.uint32): 0x9E3779B1, np.dtype(np.uint64): 0xD6E8FEB86659FD93}


def shingle_hashes(
    texts: list[bytes], size: int, dtype: type[np.uint32] | type[np.uint64]
) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """Hashes of the runs of `size` words of each text, back to back, and how many each text has, shape (len(texts),).

    A text of fewer words has one shingle, of all its words; a text without words has none. Repeated shingles are
    repeated here. The texts must be all ASCII or all not (see `word_hashes`).
    """
    words, counts = word_hashes(texts, dtype)
    ends = np.cumsum(counts)
    hashes = _runs(np.concatenate([words, np.zeros(size - 1, dtype)]), size)[: len(words)]
    valid = np.ones(len(words), np.bool_)
    for back in range(1, size):
        valid[ends[counts >= back] - back] = False
    short = np.flatnonzero((counts > 0) & (counts < size))
    if len(short):
        first = ends[short] - counts[short]
        reach = np.arange(size)
        inside = reach < counts[short, None]
        padded = np.where(inside, words.take(np.where(inside, first[:, None] + reach, 0)), 0).astype(dtype)
        hashes[first] = _runs(np.concatenate([padded, np.zeros_like(padded)], axis=1).reshape(-1), size)[:: 2 * size]
        valid[first] = True
    return spread(hashes[valid]), np.where(counts < size, np.minimum(counts, 1), counts - size + 1)


def _runs(words: Hashes, size: int) -> Hashes:
    """Σ words[i + j]·factor^j over j < size for each i, shape (len(words) - size + 1,). Takes log2(size) steps: longer
    runs are put together from runs of the lengths 1, 2, 4, …"""
    factor = _FACTOR[words.dtype]
    bits = 8 * words.dtype.itemsize
    count = len(words) - size + 1
    result: Hashes | None = None
    run, length, done = words, 1, 0  # `run` holds the sums over `length` words; `result` those over `done` words
    while True:
        if size & length:
            piece = run[done : done + count] * words.dtype.type(pow(factor, done, 1 << bits))
            result = piece if result is None else result + piece
            done += length
        if done == size:
            assert result is not None
            return result
        run = run[:-length] + run[length:] * words.dtype.type(pow(factor, length, 1 << bits))
        length *= 2


def spread(hashes: Hashes) -> Hashes:
    """Spread the bits, in place: lowbias32 (Wellons, 2018), or the finaliser of SplitMix64 (Steele et al., 2014)."""
    if hashes.dtype == np.uint32:
        steps = [(16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)]
    else:
        steps = [(30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)]
    kind = hashes.dtype.type
    for shift, factor in steps:
        hashes ^= hashes >> kind(shift)
        if factor != 1:
            hashes *= kind(factor)
    return hashes
