"""Hashes of what a text says: of its words in order, without case, punctuation and white space (see `words`)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.dedup.shingles import spread
from pipeline.dedup.words import by_alphabet, word_hashes

ARRAY = "normalized_hashes"
"""Name of the array in a part."""
_STEPS = np.array([0xA0761D6478BD642F, 0xE7037ED1A0B428DB], np.uint64)


def normalized_hashes(texts: list[bytes]) -> npt.NDArray[np.uint64]:
    """128 bits for each text (UTF-8), shape (len(texts), 2): equal for texts of the same words. Zero: no words. Each
    half is the sum of a mix of every word with its number in the text."""
    result = np.zeros((len(texts), 2), np.uint64)
    for places in by_alphabet(texts):
        words, counts = word_hashes([texts[place] for place in places], np.uint64)
        some = np.flatnonzero(counts)
        if not len(some):
            continue
        starts = (np.cumsum(counts) - counts)[some]
        numbers = np.arange(1, len(words) + 1, dtype=np.uint64) - np.repeat(starts, counts[some]).astype(np.uint64)
        for half, step in enumerate(_STEPS):
            result[places[some], half] = np.add.reduceat(spread(words + numbers * step), starts)
    return result
