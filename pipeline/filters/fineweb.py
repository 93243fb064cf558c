"""FineWeb's rules (Penedo et al. 2024, The FineWeb Datasets, section 3.6), as datatrove 0.10 applies them: few lines
that end in punctuation, many short lines, characters in repeated lines, many line ends a word.

A CJK character counts as three where the length of a line is measured: ten Chinese characters say as much as thirty
letters. Words are those of `words`, so each CJK character is one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.filters.base import Filter, TextBatch, Verdicts
from pipeline.filters.characters import CJK
from pipeline.filters.punctuation import TERMINAL
from pipeline.filters.words import words_of

_ENDS = tuple(sorted(TERMINAL))
_CJK = re.compile(f"[{CJK}]")


@dataclass(frozen=True)
class FineWebLimits:
    """Shares, but for `short_line`, in characters."""

    min_punctuated_lines: float
    max_short_lines: float
    short_line: int
    max_repeated_characters: float
    max_line_ends: float
    """Line ends a word."""


class FineWebFilter(Filter):
    """Reasons: `fineweb_empty`, `fineweb_line_punctuation`, `fineweb_short_lines`, `fineweb_repeated_lines`,
    `fineweb_list`."""

    alone = True

    def __init__(self, limits: FineWebLimits) -> None:
        self._limits = limits

    def judge(self, batch: TextBatch) -> Verdicts:
        """See `Filter.judge`."""
        reasons = ((place, self._reason(text.decode())) for place, text in enumerate(batch.texts))
        return Verdicts({place: reason for place, reason in reasons if reason is not None})

    def _reason(self, text: str) -> str | None:
        limits = self._limits
        lines = [line for line in text.split("\n") if line.strip()]
        if not lines:
            return "fineweb_empty"
        punctuated = sum(line.endswith(_ENDS) for line in lines)
        if punctuated / len(lines) < limits.min_punctuated_lines:
            return "fineweb_line_punctuation"
        short = sum(_width(line, limits.short_line) <= limits.short_line for line in lines)
        if short / len(lines) > limits.max_short_lines:
            return "fineweb_short_lines"
        line_ends = text.count("\n")
        if line_ends:
            repeated = sum(map(len, lines)) - sum(map(len, set(lines)))
            if repeated / (len(text) - line_ends) > limits.max_repeated_characters:
                return "fineweb_repeated_lines"
            # A chunk between white space is a word or more.
            most = limits.max_line_ends
            if line_ends / len(text.split()) > most and line_ends / len(words_of(text)) > most:
                return "fineweb_list"
        return None


def _width(line: str, short: int) -> int:
    """Characters of `line`, a CJK one counted as three; anything above `short` for a longer one."""
    if len(line) > short or line.isascii():
        return len(line)
    return len(line) + 2 * len(_CJK.findall(line))
