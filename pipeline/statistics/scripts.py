"""Count the characters of texts by script and kind: Latin, Han, Kana, ..., digits, punctuation, symbols, white space.

Unicode's general categories tell letters, digits, punctuation and symbols apart; the script of a letter is read from
its character name ("CYRILLIC SMALL LETTER ..."), since Python's library has no script property.
"""

from __future__ import annotations

import unicodedata

import numpy as np
import numpy.typing as npt

SCRIPTS = (
    "latin", "han", "kana", "hangul", "cyrillic", "greek", "arabic", "hebrew", "devanagari", "thai",
    "digits", "punctuation", "symbols", "other", "white_space",
)  # fmt: skip
"""The places of a count, in order. `other`: letters and marks of other scripts, controls, unassigned."""

_NAMES = {
    "LATIN": "latin", "CJK": "han", "IDEOGRAPHIC": "han", "HIRAGANA": "kana", "KATAKANA": "kana",
    "HENTAIGANA": "kana", "HANGUL": "hangul", "CYRILLIC": "cyrillic", "GREEK": "greek", "ARABIC": "arabic",
    "HEBREW": "hebrew", "DEVANAGARI": "devanagari", "THAI": "thai",
}  # fmt: skip
_KINDS = {"N": "digits", "P": "punctuation", "S": "symbols", "Z": "white_space"}
_BLOCK = 256
_UNKNOWN = 255
_ASCII = bytes(range(0x80))
_classes = np.full(0x110000, _UNKNOWN, np.uint8)  # class of each code point, filled a block at a time when first seen
_classes[0x3400:0x4DC0] = _classes[0x4E00:0xA000] = SCRIPTS.index("han")  # large and uniform: no need to look them up
_classes[0xAC00:0xD7A4] = SCRIPTS.index("hangul")


def script_of(character: str) -> str:
    """The entry of SCRIPTS that `character` is counted under."""
    category = unicodedata.category(character)
    if character in "\t\n\v\f\r\x85":
        return "white_space"
    if category[0] in _KINDS:
        return _KINDS[category[0]]
    if category[0] not in "LM":
        return "other"
    words = unicodedata.name(character, "").replace("-", " ").split()
    return next((_NAMES[word] for word in words if word in _NAMES), "other")


def script_counts(texts: list[bytes]) -> npt.NDArray[np.int64]:
    """Characters of UTF-8 `texts` by script, shape (len(SCRIPTS),). O(bytes), about 2 ns for an ASCII character, 5 for
    another."""
    joined = b"".join(texts)
    counts = np.zeros(len(SCRIPTS), np.int64)
    np.add.at(
        counts, _classes_of(np.arange(0x80)), np.bincount(np.frombuffer(joined, np.uint8), minlength=0x100)[:0x80]
    )
    others = np.frombuffer(joined.translate(None, _ASCII).decode().encode("utf-32-le"), "<u4")
    return counts + np.bincount(_classes_of(others), minlength=len(SCRIPTS))


def _classes_of(points: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
    """The place in SCRIPTS of each code point, (n,)."""
    classes: npt.NDArray[np.uint8] = _classes[points]
    unknown = classes == _UNKNOWN
    if unknown.any():
        _fill(np.unique(points[unknown] // _BLOCK))
        classes = _classes[points]
    return classes


def _fill(blocks: npt.NDArray[np.integer]) -> None:
    """Classify all code points of these blocks of 256."""
    for block in blocks.tolist():
        start = block * _BLOCK
        _classes[start : start + _BLOCK] = [SCRIPTS.index(script_of(chr(c))) for c in range(start, start + _BLOCK)]
