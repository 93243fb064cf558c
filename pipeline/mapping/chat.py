"""Encode conversations in ChatML, segment by segment, so that no text can forge a special token.

A message is the turn's opening token, the role and a line feed, the content without blanks around it, the turn's
closing token and a line feed. Role and content are encoded as plain text, each by itself; the special tokens are put
in by their ids. `tokenization.chat.CHATML` is the same as a template.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from pipeline.mapping.sentences import Encode
from pipeline.sources.base import Conversation
from shards.documents import SPAN, Rows
from tokenization.engines.base import Ids
from tokenization.tokenizer import Tokenizer

ASSISTANT = "assistant"


class ConversationEncoder:
    """Encodes conversations; raises `UserError` when the tokenizer has no tokens for the turns of a chat."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        purpose = "encoding conversations"
        opening = tokenizer.roles.require("turn_start", purpose, tokenizer.where)
        closing = tokenizer.roles.require("turn_end", purpose, tokenizer.where)

        @cache
        def header(role: str) -> Ids:
            return np.array([opening, *tokenizer.encode(f"{role}\n")], np.uint32)

        self._header = header
        self._footer = np.array([closing, *tokenizer.encode("\n")], np.uint32)
        self._end = np.array(tokenizer.roles.terminator, np.uint32)

    def encode_conversations(
        self, conversations: list[Conversation], encode: Encode
    ) -> tuple[Ids, npt.NDArray[np.int64], Rows]:
        """Tokens of all `conversations` back to back, each followed by the terminator; their lengths with it (n,); and
        rows of SPAN: what the assistant says and the closing token of its turn. `encode` encodes plain texts.

        A conversation without an assistant has one empty row. Costs one call of `encode`.
        """
        contents = [content.decode().strip().encode() for messages in conversations for _, content in messages]
        ids, borders = encode(contents)
        pieces: list[Ids] = []
        lengths = np.zeros(len(conversations), np.int64)
        spans: list[tuple[int, int, int]] = []
        number = 0
        for place, messages in enumerate(conversations):
            position = rows = 0
            for role, _ in messages:
                header, content = self._header(role), ids[borders[number] : borders[number + 1]]
                number += 1
                start = position + len(header)
                end = start + len(content) + 1  # the closing token is learnt, the line feed behind it is not
                if role == ASSISTANT:
                    spans.append((place, start, end))
                    rows += 1
                pieces += [header, content, self._footer]
                position = end - 1 + len(self._footer)
            pieces.append(self._end)
            lengths[place] = position + len(self._end)
            if not rows:
                spans.append((place, 0, 0))
        return np.concatenate(pieces or [self._end[:0]]), lengths, np.array(spans, SPAN)
