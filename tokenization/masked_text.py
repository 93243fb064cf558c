"""Texts in which the user writes a mask token: the one special token that such a text may spell."""

from __future__ import annotations

import json

import tokenizers

from tokenization.tokenizer import Tokenizer

USUAL_MASK = "[MASK]"
"""What people type whatever the tokenizer calls its own; BERT's name."""


class MaskedText:
    """Encodes texts with masks. `name` is how the tokenizer spells the mask token; `[MASK]` is understood as well.

    Every other special token stays plain text. Where tokens carry the blank before their word (byte-level BPE,
    SentencePiece) the mask takes the blank before it, as a masked word did in training.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.token = tokenizer.roles.require("mask", "filling masks", tokenizer.where)
        self.name = tokenizer.id_to_token(self.token) or USUAL_MASK
        takes_blank = bool(tokenizer.encode(" "))
        definition = tokenizer.json()
        added = [token for token in definition["added_tokens"] if token["id"] == self.token]
        for token in added:
            token["special"] = False  # so that it alone is found in a text
            token["lstrip"] |= takes_blank
        self._engine = tokenizers.Tokenizer.from_str(json.dumps(definition, ensure_ascii=False))
        if not added:
            self._engine.add_tokens([tokenizers.AddedToken(self.name, lstrip=takes_blank, normalized=False)])
        self._engine.no_padding()
        self._engine.no_truncation()
        self._engine.encode_special_tokens = True

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, the mask token's where it is spelt; no CLS, no SEP."""
        return self._engine.encode(text.replace(USUAL_MASK, self.name), add_special_tokens=False).ids
