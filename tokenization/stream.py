"""Decode a stream of tokens without ever showing half a character."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from functools import cache

from tokenization.tokenizer import Tokenizer


@cache
def byte_of_character() -> dict[str, int]:
    """The inverse of GPT-2's printable byte alphabet (openai/gpt-2, encoder.py `bytes_to_unicode`)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    table.update({chr(256 + place): byte for place, byte in enumerate(others)})
    return table


class StreamDecoder:
    """Feed token ids one by one; get the text that is complete so far.

    The concatenation of everything returned is the text of all ids, special tokens left out; bytes that can never
    become UTF-8 give U+FFFD, bytes of a character that never ended are dropped by `finish`. `context` are the tokens
    before the first one, of which nothing is shown: where blanks belong to words (Llama 2's ▁, WordPiece), they tell
    whether one stands before the first word.
    """

    def __init__(self, tokenizer: Tokenizer, context: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._byte_level = tokenizer.byte_level
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._window: list[int] = []
        self._shown = ""
        if not self._byte_level:
            self._keep(context)

    def push(self, token: int) -> str:
        """The text that `token` completes, possibly empty."""
        if token in self._tokenizer.special_ids:
            return ""
        return self._push_bytes(token) if self._byte_level else self._push_window(token)

    def finish(self) -> str:
        """The rest that can still be shown at the end of the stream."""
        self._utf8.reset()
        text = self._tokenizer.decode(self._window)[len(self._shown) :] if self._window else ""
        self._window, self._shown = [], ""
        return text.rstrip("\ufffd")

    def _push_bytes(self, token: int) -> str:
        name = self._tokenizer.id_to_token(token)
        if name is None:  # a padded id: stands for no text
            return ""
        table = byte_of_character()
        if all(character in table for character in name):
            return self._utf8.decode(bytes(table[character] for character in name))
        return self._utf8.decode(name.encode())  # an added token, stored as plain text

    def _push_window(self, token: int) -> str:
        """For decoders that join tokens by rules: decode a window, show what grew, restart it at word borders."""
        self._window.append(token)
        text = self._tokenizer.decode(self._window)
        if text.endswith("\ufffd"):
            return ""
        new, self._shown = text[len(self._shown) :], text
        if len(self._window) > 64 and new:
            self._keep(self._window)
        return new

    def _keep(self, tokens: Sequence[int]) -> None:
        """Keep the last of `tokens` as context, so that the next one knows whether a space precedes it; more than one
        when a character spans them."""
        for kept in range(1, min(len(tokens), 8) + 1):
            shown = self._tokenizer.decode(tokens[-kept:])
            if "\ufffd" not in shown:
                self._window, self._shown = list(tokens[-kept:]), shown
                return
