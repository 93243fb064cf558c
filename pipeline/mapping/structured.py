"""Encode the documents of a batch with what a dataset records of their structure: trained spans, sentence borders."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pipeline.mapping.chat import ConversationEncoder
from pipeline.mapping.encode import Encoder
from pipeline.mapping.sentences import sentence_rows
from pipeline.sources.base import Conversation
from shards.documents import Rows
from tokenization.engines.base import Borders, Ids
from tokenization.tokenizer import Tokenizer


@dataclass(frozen=True)
class Encoded:
    """n documents: `tokens` back to back in the dataset's dtype, `lengths` (n,) with terminators, and rows of the
    optional tables of `shards.documents` by name, whose `document` counts from the first of these."""

    tokens: npt.NDArray[np.generic]
    lengths: npt.NDArray[np.int64]
    extras: dict[str, Rows] = field(default_factory=dict)


class StructuredEncoder:
    """Encodes plain texts and conversations, mixed as they come."""

    def __init__(self, tokenizer: Tokenizer, encoder: Encoder, sentence_borders: bool) -> None:
        self._tokenizer, self._encoder, self._borders = tokenizer, encoder, sentence_borders

    @cached_property
    def _chat(self) -> ConversationEncoder:
        return ConversationEncoder(self._tokenizer)

    def encode(
        self, texts: list[bytes], hashes: npt.NDArray[np.void], conversations: list[Conversation] | None = None
    ) -> Encoded:
        """Encode documents: their `texts`, content `hashes` (n,), and, if there are any, `conversations`, the empty
        tuple for a plain text. There are `spans` if there are conversations, `sentences` if they were asked for."""
        talks = np.array([bool(messages) for messages in conversations or []], bool)
        if not talks.any():
            tokens, lengths = self._encoder.encode(texts, hashes)
            return Encoded(tokens, lengths, self._sentences(texts, tokens, lengths))
        assert conversations is not None
        chosen = [messages for messages in conversations if messages]
        contents = [hashes[place] for place in np.flatnonzero(talks) for _ in conversations[place]]
        ids, chat_lengths, spans = self._chat.encode_conversations(
            chosen, lambda parts: self._encoder.encode_plain(parts, np.array(contents, hashes.dtype))
        )
        spans["document"] = np.flatnonzero(talks)[spans["document"]]
        plain = np.flatnonzero(~talks)
        if not len(plain):
            return Encoded(ids.astype(self._encoder.dtype), chat_lengths, {"spans": spans, **self._no_sentences()})
        plain_texts = [texts[place] for place in plain]
        tokens, plain_lengths = self._encoder.encode(plain_texts, hashes[plain])
        extras = self._sentences(plain_texts, tokens, plain_lengths)
        for rows in extras.values():
            rows["document"] = plain[rows["document"]]
        lengths = np.zeros(len(texts), np.int64)
        lengths[talks], lengths[plain] = chat_lengths, plain_lengths
        merged = np.empty(int(lengths.sum()), self._encoder.dtype)
        of_chat = np.repeat(talks, lengths)
        merged[of_chat], merged[~of_chat] = ids, tokens
        return Encoded(merged, lengths, {"spans": spans, **extras})

    def _sentences(
        self, texts: list[bytes], tokens: npt.NDArray[np.generic], lengths: npt.NDArray[np.int64]
    ) -> dict[str, Rows]:
        if not self._borders:
            return {}
        terminator = len(self._tokenizer.roles.terminator)
        rows = sentence_rows(texts, tokens, lengths, terminator, self._encode_sentences)
        return {"sentences": rows}

    def _no_sentences(self) -> dict[str, Rows]:
        return self._sentences([], np.zeros(0, self._encoder.dtype), np.zeros(0, np.int64))

    def _encode_sentences(self, sentences: list[bytes]) -> tuple[Ids, Borders]:
        """Not audited: the sentences must give the tokens of the document, which was."""
        return self._encoder.encode_plain(sentences, None)
