"""Assign documents to train, val and test by their content hash, so that equal texts never straddle splits."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

TRAIN, VAL, TEST = 0, 1, 2


def split_keys(content_hashes: npt.NDArray[np.void], seed: int) -> npt.NDArray[np.float64]:
    """A number in [0, 1) for each 16-byte content hash (n,), from the hash and `seed` alone."""
    mask = int.from_bytes(hashlib.sha256(f"split:{seed}".encode()).digest()[:8], "little")
    first = np.ascontiguousarray(content_hashes).view("<u8").reshape(-1, 2)[:, 0] ^ np.uint64(mask)
    return (first >> np.uint64(11)).astype(np.float64) / 2.0**53


def assign_splits(
    keys: npt.NDArray[np.float64],
    tokens: npt.NDArray[np.integer],
    val_fraction: float,
    test_fraction: float,
    max_tokens: int,
) -> npt.NDArray[np.int8]:
    """The split of each kept document, shape (n,). A wanted val or test split gets at least one document as long as
    train keeps one too, and at most `max_tokens` tokens beyond its first document; the rest stays in train."""
    result = np.zeros(len(keys), np.int8)
    order = np.argsort(keys, kind="stable")
    taken = 0
    for split, fraction, low in ((VAL, val_fraction, 0.0), (TEST, test_fraction, val_fraction)):
        if fraction == 0:
            continue
        inside = order[(keys[order] >= low) & (keys[order] < low + fraction)]
        inside = inside[result[inside] == TRAIN]
        if not len(inside):
            inside = order[result[order] == TRAIN][:1]
        chosen = inside[: max(1, int(np.searchsorted(np.cumsum(tokens[inside]), max_tokens, side="right")))]
        if len(keys) - taken - len(chosen) < 1:
            chosen = chosen[: max(0, len(keys) - taken - 1)]
        result[chosen] = split
        taken += len(chosen)
    return result
