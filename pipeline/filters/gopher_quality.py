"""Gopher's quality rules (Rae et al. 2021, Scaling Language Models, appendix A.1.1), as datatrove 0.10 applies them.

Words are those of `words`. In a document that is mostly CJK a word is a character, so the rules of mean word length,
of words with a letter (Chinese punctuation stands every few characters) and of English stop words do not apply.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.arrays import Mask
from pipeline.filters.base import Filter, TextBatch, Verdicts
from pipeline.filters.word_table import WordTable

_SEPARATORS = (b"\r", b"\v", b"\f", b"\x1c", b"\x1d", b"\x1e", b"\xc2\x85", b"\xe2\x80\xa8", b"\xe2\x80\xa9")
"""What besides a line feed ends a line to `str.splitlines`."""


@dataclass(frozen=True)
class GopherQualityLimits:
    """Thresholds: words of a document, characters of the mean word, and shares."""

    min_words: int
    max_words: int
    min_word_length: float
    max_word_length: float
    max_symbol_ratio: float
    """Hash signs, or ellipses, a word."""
    max_bullet_lines: float
    max_ellipsis_lines: float
    min_alphabetic_words: float
    min_stop_words: int


class GopherQualityFilter(Filter):
    """Reasons: `gopher_few_words`, `gopher_many_words`, `gopher_short_words`, `gopher_long_words`,
    `gopher_hash_signs`, `gopher_ellipses`, `gopher_bullet_lines`, `gopher_ellipsis_lines`,
    `gopher_words_without_letters`, `gopher_few_stop_words`; the first that applies."""

    def __init__(self, limits: GopherQualityLimits) -> None:
        self._limits = limits

    def judge(self, batch: TextBatch) -> Verdicts:
        """See `Filter.judge`."""
        if not len(batch):
            return Verdicts()
        limits, words = self._limits, batch.once(WordTable)
        total, counted = words.sums("words"), words.sums("counted")
        mean = words.sums("counted_characters") / np.maximum(counted, 1)
        spaced = ~words.mostly_cjk
        each = np.maximum(total, 1)
        rules: list[tuple[str, Mask]] = [
            ("gopher_few_words", counted < limits.min_words),
            ("gopher_many_words", counted > limits.max_words),
            ("gopher_short_words", spaced & (mean < limits.min_word_length)),
            ("gopher_long_words", spaced & (mean > limits.max_word_length)),
            ("gopher_hash_signs", batch.count(batch.buffer == ord("#")) / each > limits.max_symbol_ratio),
            ("gopher_ellipses", _ellipses(batch, each, limits.max_symbol_ratio)),
            ("gopher_bullet_lines", _line_rule(batch, _bullets(batch), bullet_lines, limits.max_bullet_lines)),
            ("gopher_ellipsis_lines", _line_rule(batch, _dots(batch), ellipsis_lines, limits.max_ellipsis_lines)),
            ("gopher_words_without_letters", spaced & (words.sums("alphabetic") / each < limits.min_alphabetic_words)),
            ("gopher_few_stop_words", spaced & (words.stop_words() < limits.min_stop_words)),
        ]
        dropped: dict[int, str] = {}
        for reason, drops in reversed(rules):
            dropped |= dict.fromkeys(np.flatnonzero(drops).tolist(), reason)
        return Verdicts(dropped)


def bullet_lines(text: str) -> float:
    """Share of the lines that start with a bullet."""
    lines = text.splitlines()
    return sum(line.lstrip().startswith(("•", "-")) for line in lines) / max(1, len(lines))


def ellipsis_lines(text: str) -> float:
    """Share of the lines that end with an ellipsis."""
    lines = text.splitlines()
    return sum(line.rstrip().endswith(("...", "…")) for line in lines) / max(1, len(lines))


def _ellipses(batch: TextBatch, words: npt.NDArray[np.int64], most: float) -> Mask:
    """Documents with more than `most` ellipses a word, (n,)."""
    bound = np.zeros(len(batch), np.int64)
    if b"..." in batch.joined:
        bound += batch.count(batch.windows[: len(batch.buffer)] & np.uint64(0xFFFFFF) == 0x2E2E2E)
    if not batch.ascii:
        bound += batch.count(batch.buffer == 0xE2)  # first byte of the one-character ellipsis
    suspects: Mask = bound / words > most
    for place in np.flatnonzero(suspects).tolist():
        text = batch.texts[place]
        suspects[place] = (text.count(b"...") + text.count("…".encode())) / words[place] > most
    return suspects


def _line_rule(batch: TextBatch, lines: Mask, share: Callable[[str], float], most: float) -> Mask:
    """Documents in which `share` of the text exceeds `most`, (n,). `lines`, (m,): those that may count, and all that
    do where lines end in line feeds alone."""
    documents = batch.lines.documents
    number = np.bincount(documents, minlength=len(batch))
    possible = np.bincount(documents[lines], minlength=len(batch))
    suspects: Mask = possible >= most * (number - 1)  # the last may be empty, and does not count then
    suspects[batch.documents_with(_SEPARATORS)] = True
    suspects &= batch.lengths > 0
    for place in np.flatnonzero(suspects).tolist():
        suspects[place] = share(batch.texts[place].decode()) > most
    return suspects


def _bullets(batch: TextBatch) -> Mask:
    """Lines that may start with a bullet, after white space, (m,)."""
    first = batch.buffer[batch.lines.starts]
    found: Mask = (
        (first == ord("-")) | (first <= 0x20) | (first == 0xE2) | (first == 0xC2) | (first == 0xE3) | (first == 0xE1)
    )
    return found


def _dots(batch: TextBatch) -> Mask:
    """Lines that may end with an ellipsis, before white space, (m,)."""
    starts, ends, _ = batch.lines
    last = (batch.windows[np.maximum(ends - 3, 0)] & np.uint64(0xFFFFFF)).astype(np.int64)
    two = (
        last & 0xFFFF
    )  # bytes but the last; white space beyond ASCII: C2 85, C2 A0, E1 9A 80, E2 80 xx, E2 81 9F, E3 80 80
    found: Mask = (last == 0x2E2E2E) | (last >> 16 <= 0x20) | (two == 0x80E2) | (two == 0x81E2)
    found |= (last == 0x8080E3) | (last == 0x809AE1) | (last >> 8 == 0xA0C2) | (last >> 8 == 0x85C2)
    return found & (ends > starts)
