"""Choose the fast engine for a tokenizer: gigatoken for byte-level BPE, remembered words for tokenizers of words."""

from __future__ import annotations

from tokenization.engines.base import Engine
from tokenization.tokenizer import Tokenizer


def build(tokenizer: Tokenizer) -> Engine | None:
    """The fast engine that is right for `tokenizer`, or None."""
    if (tokenizer.json().get("model") or {}).get("type") == "BPE":
        from tokenization.engines import bpe  # loads gigatoken

        return bpe.build(tokenizer)
    from tokenization.engines import words

    return words.build(tokenizer)
