"""Texts as an encoder meets them: `[CLS] text [SEP]`, cut where they are too long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foundation.errors import UserError
from foundation.logs import get_logger
from generation.prompts import is_text
from tokenization.masked_text import MaskedText
from tokenization.tokenizer import Tokenizer
from tokenization.truncation import Truncation, kept_spans

LOG = get_logger("generation")
KEPT = {"head": "their start is", "tail": "their end is", "head_tail": "their start and end are"}


@dataclass(frozen=True)
class Piece:
    """A framed text."""

    tokens: list[int]
    masks: tuple[int, ...] = ()
    """Where the text's mask tokens stand in `tokens`."""
    skipped: int = 0
    """How many tokens of the text were left out before those of a piece with masks."""


class Framer:
    """Makes pieces of at most `limit` tokens. It counts what it cuts; `report` says so once for many texts."""

    def __init__(self, tokenizer: Tokenizer, limit: int, truncation: Truncation = "head") -> None:
        roles = tokenizer.roles
        self._tokenizer, self.limit, self._truncation = tokenizer, limit, truncation
        self.cls = roles.require("cls", "an encoder", tokenizer.where)
        self.sep = roles.require("sep", "an encoder", tokenizer.where)
        self._masked: MaskedText | None = None
        self._texts, self._cut = 0, 0

    @property
    def masked(self) -> MaskedText:
        """How masks are written; `UserError` where the tokenizer has none."""
        if self._masked is None:
            self._masked = MaskedText(self._tokenizer)
        return self._masked

    def frame(self, texts: Sequence[str]) -> list[Piece]:
        """Pieces of plain texts; special tokens spelt in them are text."""
        for text in texts:
            _check(text)
        pieces = []
        for ids in self._tokenizer.encode_ids(texts):
            spans = kept_spans(len(ids), self.limit - 2, self._truncation)
            self._texts += 1
            self._cut += len(ids) > self.limit - 2
            kept = [token for start, stop in spans for token in ids[start:stop]]
            pieces.append(Piece([self.cls, *kept, self.sep]))
        return pieces

    def frame_masked(self, text: str) -> Piece:
        """The piece of a text with mask tokens, if any. Of one that is too long, what stands around them is kept."""
        _check(text)
        ids = self.masked.encode(text)
        places = [place for place, token in enumerate(ids) if token == self.masked.token]
        room = self.limit - 2
        start = 0
        if len(ids) > room and places:
            LOG.warning("the text has %d tokens, the model reads %d: those around its masks", len(ids), room)
            if places[-1] - places[0] >= room:
                raise UserError(
                    f"the masks lie {places[-1] - places[0] + 1} tokens apart, the model reads {room} at once; "
                    "give the parts of the text one by one"
                )
            middle = (places[0] + places[-1]) // 2
            start = min(max(middle - room // 2, places[-1] - room + 1, 0), places[0], len(ids) - room)
        kept = ids[start : start + room]
        return Piece([self.cls, *kept, self.sep], tuple(1 + place - start for place in places), start)

    def report(self) -> None:
        """Say how many of the texts since the last report were cut."""
        if self._cut:
            LOG.warning(
                "%d of %d texts are longer than the %d tokens that the model reads: %s read",
                self._cut, self._texts, self.limit - 2, KEPT[self._truncation],
            )  # fmt: skip
        self._texts = self._cut = 0


def _check(text: str) -> None:
    if not is_text(text):
        raise UserError("the text holds bytes that are not UTF-8, or half a surrogate pair; give plain text")
