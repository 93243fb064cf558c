"""Choose the fast engine for a tokenizer: gigatoken for byte-level BPE, remembered words for tokenizers of words."""

from __future__ import annotations

from tokenization.engines.base import Engine
from tokenization.tokenizer import Tokenizer


def build(tokenizer: Tokenizer) -> Engine | None:
    """The fast engine that is right for `tokenizer`, or None."""
    if b'"BPE"' in tokenizer.definition:  # else it can be no BPE, and gigatoken need not be loaded
        from tokenization.engines import bpe

        engine = bpe.build(tokenizer)
        if engine is not None:
            return engine
    from tokenization.engines import words

    return words.build(tokenizer)
