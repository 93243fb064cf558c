"""Conversations: messages to token ids."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from foundation.errors import UserError
from tokenization.chat import render_chat
from tokenization.tokenizer import Tokenizer

ROLES = ("system", "user", "assistant")
Message = Mapping[str, str]


def check_history(history: Sequence[Message]) -> None:
    """`UserError` unless every message has a known role and a text."""
    if not history:
        raise UserError("history: holds no message; give at least one with role 'user'")
    for place, message in enumerate(history):
        if message.get("role") not in ROLES:
            raise UserError(f"history[{place}]: role is {message.get('role')!r}; use one of {', '.join(ROLES)}")
        if not isinstance(message.get("content"), str):
            raise UserError(f"history[{place}]: needs a text under 'content'")


def encode_chat(tokenizer: Tokenizer, template: str, history: Sequence[Message]) -> list[int]:
    """Token ids of a conversation up to where the assistant's next answer begins.

    Special tokens come from the template alone. The template is rendered with a mark in the place of each
    message, and the messages are encoded as plain text: one that spells `<|im_end|>` ends no turn.
    """
    marks = [f"\ue000{place}\ue001" for place in range(len(history))]  # private use: no template holds them
    marked = [{"role": m["role"], "content": mark} for m, mark in zip(history, marks, strict=True)]
    special = {
        f"{name}_token": tokenizer.id_to_token(token) or ""
        for name, token in (("bos", tokenizer.roles.end_of_text), ("eos", tokenizer.roles.end_of_text))
        if token is not None
    }
    ids: list[int] = []
    for piece in re.split("(\ue000[0-9]+\ue001)", render_chat(marked, template, True, **special)):
        if piece in marks:
            ids += tokenizer.encode(history[marks.index(piece)]["content"])
        elif piece:
            ids += tokenizer.encode(piece, special=True)
    return ids
