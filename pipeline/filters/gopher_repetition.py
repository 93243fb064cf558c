"""Gopher's repetition rules (Rae et al. 2021, Scaling Language Models, table A1), as datatrove 0.10 applies them.

Shares of repeated paragraphs and lines, by number and by characters; of the characters of the most frequent n-gram of
words; of the characters in repeated n-grams of words. Words are those of `words`. In a document that is mostly CJK
an n-gram has 2n characters instead of n words, since a Chinese word has about two characters, and the most frequent
n-gram must occur twice to count (else a poem of four lines goes for its first characters).

Most documents pass by upper bounds that are computed for a whole batch; the rules themselves run on the others:
* equal paragraphs or lines need two equal lines;
* the pairs of words in an n-gram are at least as frequent as it, so (n + 1) // 2 times the most characters of any
  pair bound the characters of the most frequent n-gram;
* a repeated n-gram repeats the shortest n-grams asked for, so their characters bound those of all.
Cost: about 15 ns a byte of English beyond the words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Mask
from pipeline.filters.base import Filter, TextBatch, Verdicts
from pipeline.filters.hashing import mix
from pipeline.filters.repetition import documents_with_equal_lines
from pipeline.filters.word_table import WordTable
from pipeline.filters.words import is_cjk, words_of

SHORTEST_TOP, SHORTEST_REPEATED = 2, 5
_PARAGRAPHS = re.compile(r"\n{2,}")
_LINES = re.compile(r"\n+")
_LONGEST = (1 << 6) - 1  # the six low bits of a key hold the characters of its n-gram, up to this


@dataclass(frozen=True)
class GopherRepetitionLimits:
    """Shares above which a document is dropped."""

    max_repeated_lines: float
    max_repeated_paragraphs: float
    max_repeated_line_characters: float
    max_repeated_paragraph_characters: float
    max_top_ngrams: Sequence[float]
    """For n = 2, 3, …"""
    max_repeated_ngrams: Sequence[float]
    """For n = 5, 6, …"""


class GopherRepetitionFilter(Filter):
    """Reasons: `gopher_repeated_paragraphs`, `gopher_repeated_paragraph_characters`, `gopher_repeated_lines`,
    `gopher_repeated_line_characters`, `gopher_top_Ngram`, `gopher_repeated_Ngrams`."""

    def __init__(self, limits: GopherRepetitionLimits) -> None:
        self._limits = limits

    def judge(self, batch: TextBatch) -> Verdicts:
        """See `Filter.judge`."""
        dropped: dict[int, str] = {}
        if not len(batch):
            return Verdicts()
        for place in np.flatnonzero(self._suspects_by_words(batch)).tolist():
            if (reason := self._by_words(batch.texts[place].decode())) is not None:
                dropped[place] = reason
        lines = set(documents_with_equal_lines(batch).tolist())
        lines |= {at for at, text in enumerate(batch.texts) if text[:1] == b"\n" == text[-1:]}  # empty first and last
        for place in sorted(lines):
            if (reason := self._by_lines(batch.texts[place].decode())) is not None:
                dropped[place] = reason
        return Verdicts(dropped)

    def _by_lines(self, text: str) -> str | None:
        limits, characters = self._limits, max(1, len(text))
        of_paragraphs = (limits.max_repeated_paragraphs, limits.max_repeated_paragraph_characters)
        of_lines = (limits.max_repeated_lines, limits.max_repeated_line_characters)
        for what, parts, (number, size) in (
            ("paragraph", _PARAGRAPHS.split(text.strip()), of_paragraphs),
            ("line", _LINES.split(text), of_lines),
        ):
            distinct = set(parts)
            if (len(parts) - len(distinct)) / len(parts) > number:
                return f"gopher_repeated_{what}s"
            if (sum(map(len, parts)) - sum(map(len, distinct))) / characters > size:
                return f"gopher_repeated_{what}_characters"
        return None

    def _by_words(self, text: str) -> str | None:
        words, limits, characters = words_of(text), self._limits, max(1, len(text))
        cjk = mostly_cjk(words)
        for n, limit in enumerate(limits.max_top_ngrams, SHORTEST_TOP):
            if top_ngram_characters(words, 2 * n if cjk else n, cjk) / characters > limit:
                return f"gopher_top_{n}gram"
        if not limits.max_repeated_ngrams:
            return None
        sizes = [len(word) for word in words]
        shortest = SHORTEST_REPEATED * (2 if cjk else 1)
        if covered_characters(words, sizes, shortest) / characters <= min(limits.max_repeated_ngrams):
            return None
        for n, limit in enumerate(limits.max_repeated_ngrams, SHORTEST_REPEATED):
            if repeated_ngram_characters(words, sizes, 2 * n if cjk else n) / characters > limit:
                return f"gopher_repeated_{n}grams"
        return None

    def _suspects_by_words(self, batch: TextBatch) -> Mask:
        words, limits = batch.once(WordTable), self._limits
        suspects = np.zeros(len(batch), np.bool_)
        for cjk in (False, True):
            mine = words.mostly_cjk == cjk
            if not mine.any():
                continue
            scale = 2 if cjk else 1
            table = NgramTable(words, mine)
            if limits.max_top_ngrams:
                most = table.most_pair_characters(*((2, 0) if cjk else (1, 2)))
                for n, limit in enumerate(limits.max_top_ngrams, SHORTEST_TOP):
                    suspects |= (scale * n + 1) // 2 * most > limit * batch.characters
            if limits.max_repeated_ngrams:
                repeated = table.repeated_characters(SHORTEST_REPEATED * scale)
                suspects |= repeated > min(limits.max_repeated_ngrams) * batch.characters
        return suspects


class NgramTable:
    """N-grams of words of the documents that `chosen`, (n,), selects."""

    def __init__(self, words: WordTable, chosen: Mask) -> None:
        self._n = len(chosen)
        self._documents = words.documents
        self._numbers, self._lengths = words.numbers, words.lengths
        ends = words.borders[1:]
        if not chosen.all():
            mine = chosen[self._documents]
            self._documents, self._numbers, self._lengths = (
                self._documents[mine],
                self._numbers[mine],
                self._lengths[mine],
            )
            ends = np.cumsum(np.where(chosen, np.diff(words.borders), 0))
        self._following = ends[self._documents] - np.arange(len(self._documents))  # words to the document's end

    def _keys(self, n: int) -> tuple[npt.NDArray[np.uint64], np.uint64]:
        """Sorted keys of document, n-gram and, in the low bits, its characters; the shift that gives the document."""
        size = max(0, len(self._numbers) - n + 1)
        whole = np.flatnonzero(self._following[:size] >= n)
        hashes = mix(self._numbers[at : at + size] for at in range(n))[whole]
        lengths = np.zeros(size, np.int32)
        for at in range(n):
            lengths += self._lengths[at : at + size]
        bits = np.uint64(max(1, self._n).bit_length())
        shift = np.uint64(64) - bits
        upper = (self._documents[whole].astype(np.uint64) << shift) | ((hashes >> bits) & ~np.uint64(_LONGEST))
        return np.sort(upper | np.minimum(lengths[whole], _LONGEST).astype(np.uint64)), shift

    def most_pair_characters(self, least: int, spaces: int) -> npt.NDArray[np.float64]:
        """For each document: the most characters that one pair of words has in all its places, if these are `least`
        or more, each with so many `spaces`; infinite where a pair is longer than can be told, (n,)."""
        keys, shift = self._keys(2)
        most = np.zeros(self._n)
        if not len(keys):
            return most
        first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
        number = np.diff(first, append=len(keys))
        lengths = (keys[first] & np.uint64(_LONGEST)).astype(np.float64)
        lengths[lengths == _LONGEST] = np.inf
        scores = np.where(number >= least, number * (lengths + spaces), 0)
        documents = (keys[first] >> shift).astype(np.int64)
        starts = np.flatnonzero(np.diff(documents, prepend=-1))
        most[documents[starts]] = np.maximum.reduceat(scores, starts)
        return most

    def repeated_characters(self, n: int) -> npt.NDArray[np.float64]:
        """For each document: the characters of all its n-grams that it had before, overlaps counted repeatedly;
        infinite where one is longer than can be told, (n,)."""
        keys, shift = self._keys(n)
        again = keys[1:][keys[1:] == keys[:-1]]
        lengths = (again & np.uint64(_LONGEST)).astype(np.float64)
        lengths[lengths == _LONGEST] = np.inf
        return np.bincount((again >> shift).astype(np.int64), lengths, self._n).astype(np.float64)


def mostly_cjk(words: Sequence[str]) -> bool:
    """Whether most words are CJK characters (see `WordTable.mostly_cjk`)."""
    return 2 * sum(is_cjk(word) for word in words) > len(words)


def top_ngram_characters(words: list[str], n: int, cjk: bool) -> int:
    """Characters of the most frequent n-gram (the first of several) in all its places, with spaces between words that
    are not CJK. One that occurs once counts as well, but not in CJK text."""
    counts = Counter(zip(*(words[at:] for at in range(n)), strict=False))
    if not counts:
        return 0
    ngram, count = counts.most_common(1)[0]
    if cjk:
        return count * sum(map(len, ngram)) if count > 1 else 0
    return count * (sum(map(len, ngram)) + n - 1)


def repeated_ngram_characters(words: list[str], sizes: list[int], n: int) -> int:
    """Characters of the n-grams that occurred before, read from the left, without overlap."""
    seen: set[tuple[str, ...]] = set()
    at = repeated = 0
    while at + n <= len(words):
        ngram = tuple(words[at : at + n])
        if ngram in seen:
            repeated += sum(sizes[at : at + n])
            at += n
        else:
            seen.add(ngram)
            at += 1
    return repeated


def covered_characters(words: list[str], sizes: list[int], n: int) -> int:
    """Characters of the words that lie in any n-gram that occurred before."""
    seen: set[tuple[str, ...]] = set()
    done = covered = 0
    for at, ngram in enumerate(zip(*(words[k:] for k in range(n)), strict=False)):
        if ngram in seen:
            covered += sum(sizes[max(at, done) : at + n])
            done = at + n
        else:
            seen.add(ngram)
    return covered
