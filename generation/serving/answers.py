"""What the server answers: OpenAI's objects of chat and text completions, whole or in chunks.

Source: platform.openai.com/docs/api-reference (chat/object, chat-streaming, completions/object).
"""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from generation.completion import Piece, TokenLogprob

Json = dict[str, Any]


class Form(ABC):
    """One answer's envelope, and how a text stands in it."""

    whole_kind: ClassVar[str]
    chunk_kind: ClassVar[str]
    prefix: ClassVar[str]

    def __init__(self, model: str) -> None:
        self._head = {"id": f"{self.prefix}-{secrets.token_hex(12)}", "created": int(time.time()), "model": model}

    def whole(self, choices: Sequence[Json], usage: Json) -> Json:
        """The answer at once."""
        return {**self._head, "object": self.whole_kind, "choices": list(choices), "usage": usage}

    def chunk(self, choices: Sequence[Json], **usage: Json | None) -> Json:
        """A part of a stream."""
        return {**self._head, "object": self.chunk_kind, "choices": list(choices), **usage}

    @abstractmethod
    def opening(self, place: int) -> Json | None:
        """What comes before the first piece of a text, if anything does."""

    @abstractmethod
    def piece(self, place: int, piece: Piece) -> Json:
        """A piece as a chunk's choice."""

    @abstractmethod
    def choice(self, place: int, text: Piece) -> Json:
        """A whole text as a choice."""


class ChatForm(Form):
    """Of /v1/chat/completions."""

    whole_kind, chunk_kind, prefix = "chat.completion", "chat.completion.chunk", "chatcmpl"

    def opening(self, place: int) -> Json:
        """The role comes first, by itself."""
        return self._choice(place, {"delta": {"role": "assistant", "content": ""}}, None, None)

    def piece(self, place: int, piece: Piece) -> Json:
        """The last one may have a reason and no text."""
        delta = {"content": piece.text} if piece.text or piece.logprobs else {}
        return self._choice(place, {"delta": delta}, piece.logprobs, piece.finish_reason)

    def choice(self, place: int, text: Piece) -> Json:
        """A message of the assistant's."""
        message = {"role": "assistant", "content": text.text, "refusal": None}
        return self._choice(place, {"message": message}, text.logprobs, text.finish_reason)

    def _choice(self, place: int, content: Json, logprobs: Sequence[TokenLogprob] | None, finish: str | None) -> Json:
        told = None if not logprobs else {"content": [self._told(entry) for entry in logprobs], "refusal": None}
        return {"index": place, **content, "logprobs": told, "finish_reason": finish}

    def _told(self, entry: TokenLogprob) -> Json:
        top = [{"token": other.text, "logprob": other.logprob, "bytes": list(other.bytes)} for other in entry.top]
        return {"token": entry.text, "logprob": entry.logprob, "bytes": list(entry.bytes), "top_logprobs": top}


class TextForm(Form):
    """Of /v1/completions, where log-probabilities stand in columns."""

    whole_kind, chunk_kind, prefix = "text_completion", "text_completion", "cmpl"

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self._offsets: dict[int, int] = {}  # by place: characters of the tokens told so far

    def opening(self, place: int) -> None:
        """Nothing: the text comes at once."""

    def piece(self, place: int, piece: Piece) -> Json:
        """As a whole text."""
        return self.choice(place, piece)

    def choice(self, place: int, text: Piece) -> Json:
        """A text."""
        told = self._columns(place, text.logprobs) if text.logprobs else None
        return {"index": place, "text": text.text, "logprobs": told, "finish_reason": text.finish_reason}

    def _columns(self, place: int, entries: Sequence[TokenLogprob]) -> Json:
        offsets, at = [], self._offsets.get(place, 0)
        for entry in entries:
            offsets.append(at)
            at += len(entry.text)
        self._offsets[place] = at
        return {
            "tokens": [entry.text for entry in entries],
            "token_logprobs": [entry.logprob for entry in entries],
            # Parts of characters share one text: the likeliest one stands for it.
            "top_logprobs": [{other.text: other.logprob for other in reversed(entry.top)} for entry in entries],
            "text_offset": offsets,
        }


def usage(prompt: int, completion: int) -> Json:
    """Tokens read and written. A prompt that several texts follow counts once, as OpenAI counts."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
