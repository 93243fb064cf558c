"""Unicode normalization forms."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Literal

import numpy as np

from pipeline.arrays import SEPARATOR, places_of
from pipeline.cleaning.base import Texts

_MANY = 8  # where one byte in so many is not ASCII, hardly a document is


class UnicodeForm:
    """Unicode Normalization Form C or KC (Unicode Standard Annex 15)."""

    name = "unicode_form"

    def __init__(self, form: Literal["NFC", "NFKC"]) -> None:
        self._form = form
        self.settled = form == "NFC"  # NFKC makes ASCII of what is not, and so perhaps a tag or an address

    def clean(self, text: bytes) -> bytes:
        """See `Step.clean`."""
        if text.isascii():
            return text
        decoded = text.decode()
        normal = unicodedata.is_normalized(self._form, decoded)
        return text if normal else unicodedata.normalize(self._form, decoded).encode()

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
        if unicodedata.is_normalized(self._form, together.decode()):
            return batch
        return batch.mapped(self.clean, documents)
