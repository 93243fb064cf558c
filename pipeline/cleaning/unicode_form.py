"""Unicode normalization forms."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from itertools import accumulate
from typing import Literal

import numpy as np

from pipeline.arrays import SEPARATOR, places_of
from pipeline.cleaning.base import Texts

_MANY = 8  # where one byte in so many is not ASCII, hardly a document is
_LONG_RUN = 64  # combining marks in a row; no writing has more than a few
_STRIDE = 16
_LAST_MARK = "\U0001e94a"


class UnicodeForm:
    """Unicode Normalization Form C or KC (Unicode Standard Annex 15)."""

    name = "unicode_form"

    def __init__(self, form: Literal["NFC", "NFKC"]) -> None:
        self._form = form
        self._parts: Literal["NFD", "NFKD"] = "NFD" if form == "NFC" else "NFKD"
        self.settled = form == "NFC"  # NFKC makes ASCII of what is not, and so perhaps a tag or an address

    def clean(self, text: bytes) -> bytes:
        """See `Step.clean`."""
        if text.isascii():
            return text
        decoded = text.decode()
        if self._has_long_runs(decoded):
            decoded = _runs_of_marks(self._parts, _LONG_RUN).sub(self._in_order, decoded)
        elif unicodedata.is_normalized(self._form, decoded):
            return text
        return unicodedata.normalize(self._form, decoded).encode()

    def clean_batch(self, batch: Texts) -> Texts:
        """See `Step.clean_batch`. All texts that are not ASCII are tested at once: nothing composes across LF."""
        other = batch.array >= 0x80
        count = np.count_nonzero(other) - len(batch.ends)
        if not count:
            return batch
        documents: Iterable[int]
        if _MANY * count > len(other):
            documents = range(len(batch.ends))
            together = batch.joined.replace(SEPARATOR, b"\n")
        else:
            places = places_of(other)
            documents = batch.documents_at(places[batch.array[places] != SEPARATOR[0]]).tolist()
            together = b"\n".join(map(batch.document, documents))
        decoded = together.decode()
        if not self._has_long_runs(decoded) and unicodedata.is_normalized(self._form, decoded):
            return batch
        return batch.mapped(self.clean, documents)

    def _has_long_runs(self, text: str) -> bool:
        """Whether there may be one. Of each, several characters in a row are in a sample of the text."""
        return _runs_of_marks(self._parts, _LONG_RUN // _STRIDE).search(text[::_STRIDE]) is not None

    def _in_order(self, run: re.Match[str]) -> str:
        """The same marks in their canonical order. unicodedata would find it by moving each past the ones before it,
        which takes minutes for a megabyte."""
        parts = "".join([unicodedata.normalize(self._parts, character) for character in run[0]])
        classes = list(map(unicodedata.combining, parts))
        carriers = accumulate(mark_class == 0 for mark_class in classes)  # no mark moves past one
        ordered = sorted(zip(carriers, classes, range(len(parts)), strict=True))
        return "".join([parts[place] for _, _, place in ordered])


@cache
def _runs_of_marks(parts: Literal["NFD", "NFKD"], length: int) -> re.Pattern[str]:
    """Finds all runs, of `length` or more, of characters that taken to `parts` are nothing but combining marks. Beyond
    the Basic Multilingual Plane it takes others along: many single ones there would be compared one by one."""
    marks = [
        character
        for character in map(chr, range(0x300, 0x10000))
        if unicodedata.combining(character)
        or (unicodedata.decomposition(character) and unicodedata.combining(unicodedata.normalize(parts, character)[0]))
    ]
    return re.compile(f"[{''.join(marks)}\U00010000-{_LAST_MARK}]{{{length},}}")
