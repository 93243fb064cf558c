"""Cut texts into words and hash each: what near-duplicate detection and decontamination compare.

A word is a run of letters, digits and marks (Unicode categories L, N, M), in lower case and with compatibility forms
(fullwidth letters, ligatures) folded; in scripts that are written without spaces (Chinese, Japanese, Thai, …) every
character is a word. Everything else separates. So texts that differ in case, punctuation or white space have the same
words, and mixed text needs no decision about its language.

The hash of a word is the polynomial of its characters modulo 2^32 or 2^64, with an odd base: it is then the difference
of two prefix sums times an inverse power, which numpy computes for a whole batch (Karp and Rabin, 1987).
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

CHUNK = 1 << 16
"""Characters hashed at a time: their powers stay in the processor's cache."""
Hashes = npt.NDArray[np.unsignedinteger[Any]]
_BASE: dict[np.dtype[Any], int] = {np.dtype(np.uint32): 0x85EBCA6B, np.dtype(np.uint64): 0x9E3779B97F4A7C15}
_UNSPACED = 1 << 24
"""Flag of a character that is a word by itself; above every code point."""
_TABLE_SIZE = 0x20000
_UNSPACED_RANGES = [
    (0x0E00, 0x0F00), (0x0F00, 0x1000), (0x1000, 0x10A0), (0x1780, 0x1800), (0x19E0, 0x1A00), (0x3040, 0x3130),
    (0x31A0, 0x3200), (0x3400, 0xA000), (0xF900, 0xFB00), (0x1B000, 0x1B170),
]  # fmt: skip
"""Thai and Lao, Tibetan, Myanmar, Khmer, kana and bopomofo, Han; from U+20000 on all are Han."""


def word_hashes(texts: list[bytes], dtype: type[np.uint32] | type[np.uint64]) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """Hashes of the words of all `texts` (UTF-8), back to back in `dtype`, and how many words each text has, shape
    (len(texts),). The texts must be all ASCII or all not: the former take a path of their own, to the same hashes."""
    if not texts:
        return np.zeros(0, dtype), np.zeros(0, np.int64)
    if texts[0].isascii():
        values: Hashes = np.frombuffer(b"\n".join(texts).translate(_ascii_table()), np.uint8)
        ends = np.cumsum([len(text) + 1 for text in texts])
        starts = _starts(values)
    else:
        decoded = [text.decode() for text in texts]
        values = _fold("\n".join(decoded))
        ends = np.cumsum([len(text) + 1 for text in decoded])
        starts = _starts(values, values >= _UNSPACED)
    return _polynomials(values, starts, np.dtype(dtype)), np.diff(np.searchsorted(starts, ends), prepend=0)


def by_alphabet(texts: list[bytes]) -> list[npt.NDArray[np.int64]]:
    """Places of the ASCII texts and of the others, as `word_hashes` wants them; groups that are not empty."""
    ascii_ = np.fromiter(map(bytes.isascii, texts), np.bool_, len(texts))
    return [places for mask in (ascii_, ~ascii_) if len(places := np.flatnonzero(mask))]


@cache
def _ascii_table() -> bytes:
    return bytes([ord(chr(c).lower()) if c < 128 and chr(c).isalnum() else 0 for c in range(256)])


@cache
def _folding_table() -> npt.NDArray[np.uint32]:
    """For each code point below U+20000: 0 if it separates words, else its folded form, flagged if unspaced."""
    table = np.zeros(_TABLE_SIZE, np.uint32)
    for point in range(_TABLE_SIZE):
        if 0x3400 <= point < 0xA000 or 0xAC00 <= point < 0xD7A4:  # Han and Hangul have no case
            table[point] = point
            continue
        character = chr(point)
        if unicodedata.category(character)[0] in "LNM":
            folded = unicodedata.normalize("NFKC", character).lower()
            table[point] = ord(folded) if len(folded) == 1 else point
    for first, last in _UNSPACED_RANGES:
        inside = table[first:last]
        inside[inside > 0] |= _UNSPACED
    return table


def _fold(text: str) -> npt.NDArray[np.uint32]:
    points = np.frombuffer(text.encode("utf-32-le"), "<u4")
    table = _folding_table()
    if int(points.max(initial=0)) < _TABLE_SIZE:
        return table.take(points)
    beyond = points >= _TABLE_SIZE
    return np.where(beyond, points | np.uint32(_UNSPACED), table.take(np.where(beyond, 0, points)))


def _starts(values: Hashes, unspaced: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.int64]:
    """Where words begin. `values` (n,) is 0 for separators; `unspaced` (n,) marks characters that stand alone."""
    word = values.astype(np.bool_)
    start = word.copy()
    if unspaced is None or not unspaced.any():
        np.greater(word[1:], word[:-1], out=start[1:])
    else:
        start[1:] = word[1:] & (~word[:-1] | unspaced[1:] | unspaced[:-1])
    return np.flatnonzero(start)


@cache
def _powers(dtype: np.dtype[Any]) -> tuple[Hashes, Hashes]:
    """The powers 0 to CHUNK - 1 of the base and of its inverse."""
    bits = 8 * dtype.itemsize
    result = []
    for base in (_BASE[dtype], pow(_BASE[dtype], -1, 1 << bits)):
        factors = np.full(CHUNK, base, dtype)
        factors[0] = 1
        result.append(np.cumprod(factors, dtype=dtype))
    return result[0], result[1]


def _polynomials(values: Hashes, starts: npt.NDArray[np.int64], dtype: np.dtype[Any]) -> Hashes:
    """The hash of each word: Σ values[start + i]·base^i. Separators count nothing, so a word may be taken to end where
    the next begins. Of a word longer than CHUNK the first CHUNK characters count."""
    powers, inverses = _powers(dtype)
    hashes = np.empty(len(starts), dtype)
    sums = np.zeros(CHUNK + 1, dtype)
    ends = np.append(starts[1:], len(values))
    done = 0
    while done < len(starts):
        begin = int(starts[done])
        until = max(done + 1, int(np.searchsorted(ends, begin + CHUNK, side="right")))
        stop = min(int(ends[until - 1]), begin + CHUNK)
        terms = values[begin:stop].astype(dtype)
        terms *= powers[: stop - begin]
        np.cumsum(terms, out=sums[1 : stop - begin + 1])
        places = starts[done:until] - begin
        borders = sums.take(np.append(places, stop - begin))
        part = borders[1:] - borders[:-1]
        part *= inverses.take(places)
        hashes[done:until] = part
        done = until
    return hashes
