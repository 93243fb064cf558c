"""Assign documents to train, val and test, and weigh train: by input, or by content hash, so that the result depends
neither on the order of the inputs nor on what else there is."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import numpy.typing as npt

from shards.manifest import SPLITS

TRAIN, VAL, TEST = range(len(SPLITS))


def split_keys(hashes: npt.NDArray[np.uint64], seed: int, purpose: str = "split") -> npt.NDArray[np.float64]:
    """A number in [0, 1) for each 64 bits of a content hash (n,), from these, `seed` and `purpose` alone."""
    mask = int.from_bytes(hashlib.sha256(f"{purpose}:{seed}".encode()).digest()[:8], "little")
    return ((hashes ^ np.uint64(mask)) >> np.uint64(11)).astype(np.float64) / 2.0**53


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
    taken = 0
    for split, fraction, low in ((VAL, val_fraction, 0.0), (TEST, test_fraction, val_fraction)):
        if fraction == 0:
            continue
        inside = np.flatnonzero((keys >= low) & (keys < low + fraction) & (result == TRAIN))
        inside = inside[np.argsort(keys[inside], kind="stable")]
        if not len(inside) and len(keys) > taken:
            inside = np.array([np.argmin(np.where(result == TRAIN, keys, np.inf))])
        chosen = inside[: max(1, int(np.searchsorted(np.cumsum(tokens[inside]), max_tokens, side="right")))]
        if len(keys) - taken - len(chosen) < 1:
            chosen = chosen[: max(0, len(keys) - taken - 1)]
        result[chosen] = split
        taken += len(chosen)
    return result


def repetitions(keys: npt.NDArray[np.float64], weight: float) -> npt.NDArray[np.uint16]:
    """How often each train document of an input of that `weight` is written, shape (n,): floor(weight) times, and once
    more for the share of the documents that the rest says, chosen by `keys` in [0, 1)."""
    whole = math.floor(weight)
    return (whole + (keys < weight - whole)).astype(np.uint16)
