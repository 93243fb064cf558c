"""Drop documents that are empty, too short or too long, in characters or in words."""

from __future__ import annotations

import numpy as np

from pipeline.filters.base import Filter, TextBatch, Verdicts
from pipeline.filters.word_table import WordTable


class LengthFilter(Filter):
    """Reasons: `empty`, `too_short`, `too_long`."""

    def __init__(self, min_chars: int, max_chars: int | None) -> None:
        self._min = min_chars
        self._max = max_chars

    def judge(self, batch: TextBatch) -> Verdicts:
        """See `Filter.judge`."""
        suspect = batch.lengths < 4 * self._min  # a character takes one to four bytes: the rest need not be counted
        if self._max is not None:
            suspect |= batch.lengths > self._max
        reasons = {place: self._reason(batch.texts[place]) for place in np.flatnonzero(suspect).tolist()}
        return Verdicts({place: reason for place, reason in reasons.items() if reason})

    def _reason(self, text: bytes) -> str | None:
        length = len(text) if text.isascii() else len(text.decode())
        if length < self._min:
            return "too_short" if text else "empty"
        return "too_long" if self._max is not None and length > self._max else None


class WordCountFilter(Filter):
    """Reasons: `too_few_words`, `too_many_words`. Words as `words` has them; punctuation is none."""

    def __init__(self, min_words: int | None, max_words: int | None) -> None:
        self._min, self._max = min_words, max_words

    def judge(self, batch: TextBatch) -> Verdicts:
        """See `Filter.judge`."""
        dropped: dict[int, str] = {}
        if not len(batch):
            return Verdicts()
        counted = batch.once(WordTable).sums("counted")
        if self._max is not None:
            dropped |= dict.fromkeys(np.flatnonzero(counted > self._max).tolist(), "too_many_words")
        if self._min is not None:
            dropped |= dict.fromkeys(np.flatnonzero(counted < self._min).tolist(), "too_few_words")
        return Verdicts(dropped)
