"""What a single token stands for: its text and its bytes."""

from __future__ import annotations

import re
from functools import cached_property

from tokenization.stream import byte_of_character
from tokenization.tokenizer import Tokenizer

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class TokenTexts:
    """Text and bytes of tokens, each looked up once.

    The text is the one a token has in the middle of a text (" word", with its blank); of a token that is a part of a
    character only the bytes say what it is, and the text holds U+FFFD. A special token's text is its name.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[int, tuple[str, bytes]] = {}

    def __call__(self, token: int) -> tuple[str, bytes]:
        """Text and bytes; both empty for an id without a token."""
        if token not in self._known:
            data = self._bytes(token)
            self._known[token] = data.decode(errors="replace"), data
        return self._known[token]

    def _bytes(self, token: int) -> bytes:
        name = self._tokenizer.id_to_token(token)
        if name is None or token in self._tokenizer.special_ids:
            return (name or "").encode()
        if self._tokenizer.byte_level:
            table = byte_of_character()
            return bytes(table[c] for c in name) if all(c in table for c in name) else name.encode()
        if byte := _BYTE.fullmatch(name):
            return bytes.fromhex(byte[1])
        before = [*self._before]
        return self._tokenizer.decode([*before, token])[len(self._tokenizer.decode(before)) :].encode()

    @cached_property
    def _before(self) -> list[int]:
        """A token that others may follow."""
        return self._tokenizer.encode("a")[-1:]
