"""Documents as a decoder is measured on them: tokens as it met texts in training, and how much text they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from foundation.errors import UserError
from shards.dataset import Dataset
from tokenization.tokenizer import Tokenizer

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Document:
    """A document's tokens, the first `given` of which are read and not predicted."""

    tokens: Integers  # (n,)
    given: int
    text_bytes: int | None
    """UTF-8 bytes of the predicted text; None where its tokens do not say (a tokenizer that loses blanks or case)."""
    characters: int | None


class Encoder:
    """Makes documents for one model: `mateconv.terminator` (of a foreign model the token for the begin of a text)
    stands before each, as in training, and the end of ours is predicted like any token.

    `generation` and `mateconv` are what the model directory says (see `model.loading.FoundModel`).
    """

    def __init__(self, tokenizer: Tokenizer, generation: Mapping[str, Any], mateconv: Mapping[str, Any]) -> None:
        self.tokenizer = tokenizer
        roles = tokenizer.roles
        ours = list(mateconv.get("terminator", roles.terminator))
        begin = generation.get("bos_token_id")
        self._beginning = ours if mateconv or begin is None else [int(begin)]
        self._beginning = self._beginning or roles.terminator
        self._end = ours if mateconv else []

    def of_text(self, text: str) -> Document:
        """A text, special tokens spelt in it being plain text."""
        return self._document([*self.tokenizer.encode(text), *self._end], len(text.encode()), len(text))

    def of_tokens(self, tokens: npt.NDArray[np.generic], text: str | None) -> Document:
        """Tokens of this very tokenizer, the document's end included; `text` is what they say, where that is known."""
        size = (None, None) if text is None else (len(text.encode()), len(text))
        return self._document(tokens.tolist(), *size)

    def _document(self, tokens: list[int], text_bytes: int | None, characters: int | None) -> Document:
        given = len(self._beginning)
        if not given and tokens and text_bytes is not None and characters is not None:
            first = self.tokenizer.decode(tokens[:1])  # nothing comes before it, so nothing predicts it
            given, text_bytes, characters = 1, text_bytes - len(first.encode()), characters - len(first)
        return Document(np.array([*self._beginning, *tokens], np.int64), max(given, 1), text_bytes, characters)


def of_texts(texts: Iterable[str], encoder: Encoder) -> Iterator[Document]:
    """The documents of plain texts."""
    return (encoder.of_text(text) for text in texts)


def of_dataset(dataset: Dataset, encoder: Encoder) -> Iterator[Document]:
    """The documents of a split. One made with another tokenizer is turned back into text first.

    `UserError` where that does not give the very text that the dataset was made of: each document's record has a hash
    of it.
    """
    tokenizer = encoder.tokenizer
    foreign = dataset.manifest is not None and dataset.manifest.tokenizer_fingerprint != tokenizer.fingerprint
    theirs = Tokenizer.load(dataset.tokenizer_path) if foreign and dataset.tokenizer_path else tokenizer
    lead = dataset.terminator_length
    keeps_bytes = (theirs.json().get("decoder") or {}).get("type") == "ByteLevel"
    for number in range(dataset.documents):
        tokens = dataset.document(number)
        text = theirs.decode(tokens[: len(tokens) - lead].tolist())
        if not foreign:
            _check_inside(tokens, tokenizer, dataset)
            known = (keeps_bytes and "\ufffd" not in text) or _is_its_text(dataset, number, text)
            yield encoder.of_tokens(tokens, text if known else None)
        elif not _is_its_text(dataset, number, text):
            raise UserError(
                f"{dataset.path}: made with another tokenizer than the model's, and its tokens do not give back the "
                f"text of document {number} (a conversation, or a tokenizer that loses blanks or case); process the "
                "text again with the model's (python -m pipeline.process --tokenizer MODEL …), or give it with --text"
            )
        else:
            yield encoder.of_text(text)


def _is_its_text(dataset: Dataset, number: int, text: str) -> bool:
    """Whether document `number` was made of this very text. Foreign files tell nothing of their texts."""
    if dataset.manifest is None:
        return False
    wanted = bytes(dataset.record(number)["content_hash"])
    return sha256(text.encode()).digest()[: len(wanted)] == wanted


def _check_inside(tokens: npt.NDArray[np.generic], tokenizer: Tokenizer, dataset: Dataset) -> None:
    highest = int(tokens.max()) if len(tokens) else -1
    if highest >= tokenizer.vocab_size:
        raise UserError(
            f"{dataset.path}: token id {highest} is outside the model's vocabulary of {tokenizer.vocab_size}; these "
            "tokens are of another tokenizer"
        )
