"""Drop documents by what their characters are: mostly symbols, mostly digits, few letters, too much or little CJK.

Shares are of the visible characters: all but U+0000 to U+0020; fewer than MIN_VISIBLE of them say nothing about
symbols, digits and letters (`min_chars` drops what is too short). Classes are blocks of Unicode, so that they are the
same under every version of it:

* digit: 0-9 and their full-width forms;
* symbol: ASCII punctuation, U+0080-00BF, U+2000-2BFF, U+2E00-2E7F, U+3000-303F, U+3200-33FF, U+E000-F8FF,
  U+FE00-FE6F, the full-width forms of ASCII punctuation, U+FFE0-FFFF, U+1F000-1FAFF, U+E0000 and above
  (Latin-1 and general punctuation, symbols, arrows, boxes, CJK punctuation, private use, emoji, tags);
* CJK: U+3040-313F, U+3400-9FFF, U+F900-FAFF, U+20000-3FFFF (Han, kana, bopomofo: scripts without spaces);
* letter: every visible character that is neither a digit nor a symbol.

A document is looked at by itself only if an upper bound of its symbols and digits exceeds a limit: all that are no
ASCII letters (0.2 ns a byte), or, where that is much of a batch, those counted by first bytes of characters (0.8 ns).
Neither misses a document.
"""

from __future__ import annotations

import math
import re

import numpy as np

from pipeline.arrays import Mask, Places
from pipeline.filters.base import Filter, TextBatch, Verdicts

MIN_VISIBLE = 20
_MANY = 8  # one document in so many is cheaper to score with all others than each by itself
CJK = "\u3040-\u313f\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_DIGIT = re.compile("[0-9０-９]")
_SYMBOL = re.compile(
    "[!-/:-@[-`{-\x7f\x80-\xbf\u2000-\u2bff\u2e00-\u2e7f\u3000-\u303f\u3200-\u33ff\ue000-\uf8ff\ufe00-\ufe6f"
    "\uff00-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\uffe0-\uffff\U0001f000-\U0001faff\U000e0000-\U0010ffff]"
)
_VISIBLE = re.compile(r"[^\x00-\x20]")
_VISIBLE_BYTES = bytes([*range(0x21, 0x80), *range(0xC0, 0xFF)])  # first bytes of visible characters
_NOT_VISIBLE = bytes(sorted(set(range(256)) - set(_VISIBLE_BYTES)))
# First bytes of all symbols and digits: ASCII, C2 = U+0080-00BF, E2 = U+2000-2FFF, E3 = U+3000-3FFF, EE = U+E000 on.
_SUSPECTS = bytes([*(b for b in range(0x21, 0x80) if not chr(b).isalpha()), 0xC2, 0xE2, 0xE3, *range(0xEE, 0xF5)])
_NO_SUSPECTS = bytes(sorted(set(range(256)) - set(_SUSPECTS)))
_KANA = (b"\xe3\x81", b"\xe3\x82", b"\xe3\x83")  # U+3040-30FF: letters behind a suspect first byte


class CharacterFilter(Filter):
    """Reasons: `mostly_symbols`, `mostly_digits`, `few_letters`, `too_little_cjk`, `too_much_cjk`.

    Each limit is a share of the visible characters; None switches its rule off.
    """

    def __init__(
        self,
        max_symbols: float | None,
        max_digits: float | None,
        min_letters: float | None,
        min_cjk: float | None,
        max_cjk: float | None,
    ) -> None:
        self._max_symbols, self._max_digits, self._min_letters = max_symbols, max_digits, min_letters
        self._min_cjk, self._max_cjk = min_cjk, max_cjk
        limits = (max_symbols, max_digits, None if min_letters is None else 1 - min_letters)
        self._limit = min((limit for limit in limits if limit is not None), default=None)
        self._scores = None if self._limit is None else _scores(self._limit)

    def judge(self, batch: TextBatch) -> Verdicts:
        """See `Filter.judge`."""
        dropped: dict[int, str] = {}
        if not len(batch):
            return Verdicts()
        if self._min_cjk is not None or self._max_cjk is not None:
            share = batch.count(cjk_leads(batch)) / np.maximum(batch.count(_visible(batch)), 1)
            for wrong, reason in ((self._min_cjk, "too_little_cjk"), (self._max_cjk, "too_much_cjk")):
                if wrong is not None:
                    places = np.flatnonzero(share < wrong if reason == "too_little_cjk" else share > wrong)
                    dropped |= dict.fromkeys(places.tolist(), reason)
        if self._scores is not None:
            for place in self._suspects(batch, self._scores).tolist():
                if (found := self._reason(batch.texts[place])) is not None:
                    dropped[place] = found
        return Verdicts(dropped)

    def _suspects(self, batch: TextBatch, table: bytes) -> Places:
        """Every document whose symbols and digits may exceed the limit. Most English is let off for its letters."""
        assert self._limit is not None
        if 2 * np.count_nonzero(batch.buffer[::16] < 0x80) > len(batch.buffer) // 16:  # else they are hardly the reason
            letters = _ascii_letters(batch)
            suspects = np.flatnonzero((batch.lengths - letters) * (1 - self._limit) > self._limit * letters)
            if _MANY * len(suspects) < len(batch):
                return suspects
        scores = np.frombuffer(batch.joined.translate(table), np.int8)
        return np.flatnonzero(np.add.reduceat(scores, batch.starts, dtype=np.int32) > 0)

    def _reason(self, data: bytes) -> str | None:
        """The exact rule."""
        kana = sum(data.count(row) for row in _KANA)
        assert self._limit is not None
        if len(data.translate(None, _NO_SUSPECTS)) - kana <= self._limit * len(data.translate(None, _NOT_VISIBLE)):
            return None  # Japanese
        text = data.decode()
        visible = len(_VISIBLE.findall(text))
        if visible < MIN_VISIBLE:
            return None
        symbols, digits = len(_SYMBOL.findall(text)), len(_DIGIT.findall(text))
        if self._max_symbols is not None and symbols > self._max_symbols * visible:
            return "mostly_symbols"
        if self._max_digits is not None and digits > self._max_digits * visible:
            return "mostly_digits"
        if self._min_letters is not None and visible - symbols - digits < self._min_letters * visible:
            return "few_letters"
        return None


def _ascii_letters(batch: TextBatch) -> Places:
    """A lower bound, by at most 14, of the ASCII letters in each document, (n,): those of the whole words of eight
    bytes inside it, whose entries of a mask one multiplication adds up."""
    mask = (batch.buffer | np.uint8(0x20)) - np.uint8(0x61) < np.uint8(26)
    words = mask[: len(mask) & -8].view(np.uint64) * np.uint64(0x0101010101010101) >> np.uint64(56)
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(words, dtype=np.int64)])
    last = batch.ends >> 3
    letters: Places = before[last] - before[np.minimum((batch.starts + 7) >> 3, last)]
    return letters


def _visible(batch: TextBatch) -> Mask:
    """First bytes of the visible characters."""
    signed = batch.buffer.view(np.int8)
    visible: Mask = signed > 0x20
    if not batch.ascii:
        visible |= (signed >= -64) & (signed < -1)  # 0xC0 to 0xFE: leading bytes
    return visible


def _scores(limit: float) -> bytes:
    """A table by byte, of int8: their sum over a document is positive wherever symbols and digits exceed `limit`.

    Symbols + digits > limit * visible is (1 - limit) * (symbols + digits) - limit * letters > 0; a percent is scored
    as 1, rounded up.
    """
    table = np.zeros(256, np.int8)
    table[list(_VISIBLE_BYTES)] = -math.floor(100 * limit)
    table[list(_SUSPECTS)] = math.ceil(100 * (1 - limit))
    return table.tobytes()


def cjk_leads(batch: TextBatch) -> Mask:
    """First bytes of all CJK characters."""
    data = batch.buffer
    if batch.ascii:
        return np.zeros(len(data), np.bool_)
    second = np.append(data[1:], np.uint8(0))
    found: Mask = data - np.uint8(0xE4) < 6  # U+4000-9FFF
    found |= (data == 0xE3) & ((second - np.uint8(0x81) < 4) | (second >= 0x90))  # U+3040-313F, U+3400-3FFF
    found |= (data == 0xEF) & (second - np.uint8(0xA4) < 8)  # U+F900-FAFF
    found |= (data == 0xF0) & (second >= 0xA0)  # U+20000-3FFFF
    return found
