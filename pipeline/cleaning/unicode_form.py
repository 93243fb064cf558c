"""Unicode normalization forms."""

from __future__ import annotations

import unicodedata
from typing import Literal

from pipeline.cleaning.base import Texts


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
        places = [place for place, text in enumerate(batch.texts) if not text.isascii()]
        together = b"\n".join([batch.texts[place] for place in places]).decode()
        if unicodedata.is_normalized(self._form, together):
            return batch
        texts = batch.texts.copy()
        for place in places:
            texts[place] = self.clean(texts[place])
        return Texts(texts)
