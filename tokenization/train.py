"""Train a tokenizer of any kind."""

from __future__ import annotations

from collections.abc import Iterable

from tokenization.kinds.bpe import train_byte_bpe
from tokenization.kinds.unigram import train_unigram
from tokenization.kinds.wordlevel import train_word_level
from tokenization.kinds.wordpiece import train_word_piece
from tokenization.tokenizer import Tokenizer

__all__ = ["KINDS", "train_byte_bpe", "train_tokenizer"]

KINDS = ("bpe", "wordpiece", "wordlevel", "unigram")


def train_tokenizer(kind: str, texts: Iterable[str], vocab_size: int, lowercase: bool = True) -> Tokenizer:
    """A tokenizer of `kind` (one of KINDS) with at most `vocab_size` tokens; `lowercase` concerns the kinds made of
    words. Equal texts in equal order give equal files. Raises `UserError` for a vocabulary that is too small."""
    if kind == "wordpiece":
        return train_word_piece(texts, vocab_size, lowercase)
    if kind == "wordlevel":
        return train_word_level(texts, vocab_size, lowercase)
    if kind == "unigram":
        return train_unigram(texts, vocab_size)
    assert kind == "bpe", kind
    return train_byte_bpe(texts, vocab_size)
