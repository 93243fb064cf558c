"""Conversations: messages to token ids."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from foundation.errors import UserError
from tokenization.chat import render_chat
from tokenization.tokenizer import Tokenizer

ROLES = ("system", "user", "assistant")
Message = Mapping[str, str]
_BLANK = "\x1f"
"""Blank to Python and to templates that trim, and in no template: tells whether blanks at the ends of a text stay."""


def check_history(history: Sequence[Message]) -> None:
    """`UserError` unless every message has a known role and a text."""
    if not history:
        raise UserError("history: holds no message; give at least one with role 'user'")
    for place, message in enumerate(history):
        if message.get("role") not in ROLES:
            raise UserError(f"history[{place}]: role is {message.get('role')!r}; use one of {', '.join(ROLES)}")
        if not isinstance(message.get("content"), str):
            raise UserError(f"history[{place}]: needs a text under 'content'")
        try:
            message["content"].encode()
        except UnicodeEncodeError:
            raise UserError(f"history[{place}]: its content holds half a surrogate pair; give plain text") from None


def encode_chat(
    tokenizer: Tokenizer, template: str, history: Sequence[Message], as_one_text: bool = False
) -> list[int]:
    """Token ids of a conversation up to where the assistant's next answer begins.

    Special tokens come from the template alone: a message that spells `<|im_end|>` ends no turn. Messages are encoded
    one by one, as conversations are for training here; or `as_one_text` with the template around them, as
    `transformers` does for models of others, unless that gave a special token more or less.
    """
    apart = _encode_apart(tokenizer, template, history)
    if not as_one_text:
        return apart
    messages = [{"role": message["role"], "content": message["content"]} for message in history]
    ids = tokenizer.encode(render_chat(messages, template, True, **_tokens(tokenizer)), special=True)
    special = tokenizer.special_ids
    forged = [token for token in ids if token in special] != [token for token in apart if token in special]
    return apart if forged else ids


def _encode_apart(tokenizer: Tokenizer, template: str, history: Sequence[Message]) -> list[int]:
    """The template is rendered with a mark in the place of each message, and the messages are encoded as plain text.
    Blanks at a message's ends stay or go as the template would have it."""
    contents: dict[str, str] = {}  # by mark, of characters for private use: no template holds them
    marked = []
    for place, message in enumerate(history):
        mark = f"\ue000{place}\ue001"
        contents[mark] = message["content"]
        marked.append({"role": message["role"], "content": f"{_BLANK}{mark}{_BLANK}"})
    rendered = render_chat(marked, template, True, **_tokens(tokenizer))
    ids: list[int] = []
    for piece in re.split(f"({_BLANK}?\ue000[0-9]+\ue001{_BLANK}?)", rendered):
        content = contents.get(piece.strip(_BLANK))
        if content is not None:
            content = content if piece.startswith(_BLANK) else content.lstrip()
            ids += tokenizer.encode(content if piece.endswith(_BLANK) else content.rstrip())
        elif piece:
            ids += tokenizer.encode(piece, special=True)
    return ids


def _tokens(tokenizer: Tokenizer) -> dict[str, str]:
    """The tokens that templates name: those of tokenizer_config.json, else the one that ends a text."""
    end = tokenizer.roles.end_of_text
    usual = "" if end is None else tokenizer.id_to_token(end) or ""
    found = {}
    for name in ("bos_token", "eos_token"):
        declared = tokenizer.config.get(name)
        content = declared.get("content") if isinstance(declared, Mapping) else declared
        found[name] = content if isinstance(content, str) else usual
    return found
