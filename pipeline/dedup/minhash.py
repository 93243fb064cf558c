"""MinHash signatures (Broder, 1997) by one-permutation hashing (Li, Owen and Zhang, 2012) with optimal densification
(Shrivastava, 2017), stored in 8 bits a value (b-bit minwise hashing, Li and König, 2010).

Every shingle hash falls into one of P bins and the least of a bin is its value; a bin that got none borrows from the
first filled one in a random order of distances, the same for all. Two documents agree in a bin with a probability that
is the Jaccard similarity of their shingle sets. Of a value only a hash to 8 bits is kept, another function for each
bin, so different values agree with probability 1/256: a signature of 128 bins takes 128 bytes, which estimate about as
well as 512 would.

Everything is drawn from a fixed seed: signatures depend on the text, the n-gram length and P, and on nothing else.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from pipeline.dedup.shingles import shingle_hashes
from pipeline.dedup.words import by_alphabet
from pipeline.settings.dedup import DedupSettings

ARRAY = "signatures"
"""Name of the array in a part."""
_EMPTY = np.uint32(0xFFFFFFFF)
_BLOCK = 1024
"""Documents worked on at a time: what is touched stays in the processor's cache."""


def signatures(texts: list[bytes], settings: DedupSettings) -> npt.NDArray[np.uint8]:
    """The signature of each text (UTF-8), shape (len(texts), permutations). All zero: the text has no words, and
    resembles nothing. A signature does not depend on the other texts. About 10 ns a byte."""
    bins = settings.near_dedup_permutations
    result = np.zeros((len(texts), bins), np.uint8)
    for group in by_alphabet(texts):
        for start in range(0, len(group), _BLOCK):
            places = group[start : start + _BLOCK]
            hashes, counts = shingle_hashes([texts[place] for place in places], settings.near_dedup_ngram, np.uint32)
            result[places] = _shorten(_densified(_least(hashes, counts, bins)))
    return result


def has_words(values: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Which of the signatures (n, P) belong to texts with words, shape (n,)."""
    first = np.ascontiguousarray(values[:, :16]).view("<u8")  # sixteen zero bytes do not happen by chance
    return np.asarray((first[:, 0] | first[:, 1]) != 0)


def _least(hashes: npt.NDArray[np.unsignedinteger], counts: npt.NDArray[np.int64], bins: int) -> npt.NDArray[np.uint32]:
    """The least value in each bin, shape (len(counts), bins); _EMPTY where none fell. The product of a 32-bit hash and
    `bins` has the bin in its upper half and a value in its lower half."""
    keys = hashes.astype(np.uint64)
    keys *= np.uint64(bins)
    keys += np.repeat(np.arange(len(counts), dtype=np.uint64) * np.uint64(bins << 32), counts)
    values = np.full(len(counts) * bins, _EMPTY, np.uint32)
    np.minimum.at(values, (keys >> np.uint64(32)).astype(np.intp), keys.astype(np.uint32))
    return values.reshape(-1, bins)


@cache
def _drawn(bins: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]:
    """The steps in which an empty bin looks at the others: 0, then all others in random order, shape (bins,); and odd
    factors (bins,) that shorten values. Raw Philox output: the same with every version of numpy."""
    stream = np.random.Philox(key=20120612)
    steps = np.append(0, 1 + np.argsort(stream.random_raw(bins - 1), kind="stable"))
    return steps, (stream.random_raw(bins) >> np.uint64(32)).astype(np.uint32) | np.uint32(1)


def _densified(values: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """`values` (n, bins) with every empty bin i filled from the first filled one of i + step. Rows that are empty
    altogether stay so."""
    filled = values != _EMPTY
    count = np.count_nonzero(filled, axis=1)
    rows = np.flatnonzero((count > 0) & (count < values.shape[1]))
    rows = rows[np.argsort(count[rows], kind="stable")]  # rows of a block then need about as many steps
    for start in range(0, len(rows), _BLOCK // 2):
        block = rows[start : start + _BLOCK // 2]
        values[block] = values.reshape(-1).take(_sources(filled[block]) + block[:, None] * values.shape[1])
    return values


def _sources(filled: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """For each bin of each row the bin it takes its value from, shape (n, bins). Every row of `filled` has a filled
    bin. Lies on its side, so that to look at another bin is to look at another row of memory, all documents at once."""
    n, bins = filled.shape
    kind = np.uint8 if bins < 256 else np.uint16
    none = np.iinfo(kind).max
    blocked = np.empty((2 * bins, n), kind)
    np.subtract(filled.T.view(np.uint8), 1, out=blocked[:bins], dtype=kind)  # 0 for filled, `none` for empty
    blocked[bins:] = blocked[:bins]
    best = blocked[:bins].copy()  # the number of the first step that led to a filled bin
    offer = np.empty_like(best)
    steps, _ = _drawn(bins)
    for number in range(1, bins):
        if number % 4 == 1 and best.max() < none:
            break
        step = int(steps[number])
        np.bitwise_or(blocked[step : step + bins], kind(number), out=offer)
        np.minimum(best, offer, out=best)
    bin_ = steps.astype(np.uint16).take(best) + np.arange(bins, dtype=np.uint16)[:, None]
    return np.asarray(bin_.T.astype(np.int64) % bins)


def _shorten(values: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
    """8 bits of each value by multiply-shift hashing (Dietzfelbinger et al., 1997); all zero for empty rows."""
    short = ((values * _drawn(values.shape[1])[1]) >> np.uint32(24)).astype(np.uint8)
    short[values[:, 0] == _EMPTY] = 0
    return short
