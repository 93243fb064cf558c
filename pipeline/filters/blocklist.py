"""Drop documents with a listed word or phrase, whatever the case of its letters.

A word of a script with spaces must stand as a whole: no letter, digit, mark or underscore beside it. One with a
character of a script without spaces (Han, kana, Hangul, Thai, Lao, Khmer, Burmese) is found anywhere. White space in
a phrase matches any white space. All words are searched for at once by RE2 (pyarrow), 2 to 5 ns a byte for each
GROUP of words.
"""

from __future__ import annotations

import re

import numpy as np

from pipeline.arrays import Mask
from pipeline.filters.base import Filter, TextBatch, Verdicts
from pipeline.filters.characters import CJK

GROUP = 400  # more in one expression overrun RE2's memory for its automaton, and then it is 200 times as slow
_ANYWHERE = re.compile(f"[{CJK}\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\uac00-\ud7ff]")
_BESIDE = r"[^\pL\pN\pM_]"
_QUOTED = re.compile(r"[!-/:-@\[-^`{-~]")


class BlocklistFilter(Filter):
    """Reason: `blocklist`."""

    def __init__(self, words: list[str]) -> None:
        wanted = sorted({" ".join(word.split()) for word in words} - {""})
        self._expressions = [_expression(wanted[at : at + GROUP]) for at in range(0, len(wanted), GROUP)]

    def judge(self, batch: TextBatch) -> Verdicts:
        """See `Filter.judge`."""
        import pyarrow as pa
        import pyarrow.compute as pc

        texts = pa.array(batch.texts, pa.large_string())
        found: Mask = np.zeros(len(batch), np.bool_)
        for expression in self._expressions:
            matches = pc.match_substring_regex(texts, expression, ignore_case=True)
            found |= matches.to_numpy(zero_copy_only=False)
        return Verdicts(dict.fromkeys(np.flatnonzero(found).tolist(), "blocklist"))


def _expression(words: list[str]) -> str:
    """RE2's expression for any of `words`."""
    anywhere = [_escaped(word) for word in words if _ANYWHERE.search(word)]
    whole = [_escaped(word) for word in words if not _ANYWHERE.search(word)]
    parts = [*anywhere, *([f"(?:^|{_BESIDE})(?:{'|'.join(whole)})(?:$|{_BESIDE})"] if whole else [])]
    return "|".join(parts)


def _escaped(word: str) -> str:
    return r"\s+".join(_QUOTED.sub(r"\\\g<0>", piece) for piece in word.split(" "))
