"""Byte-level BPE (Sennrich et al. 2016; byte level as in GPT-2, Radford et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterable

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from foundation.errors import UserError
from tokenization.kinds.base import batches, finish, role_tokens
from tokenization.roles import TRAINED_ROLES, role_config
from tokenization.tokenizer import Tokenizer

QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Qwen2's pre-tokenizer pattern (Qwen2 tokenizer.json; GGUF knows it as `tokenizer.ggml.pre = qwen2`)."""

SMALLEST_VOCABULARY = 256 + len(TRAINED_ROLES)


def train_byte_bpe(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Train on `texts`; the result has at most `vocab_size` tokens: the roles first, then all 256 bytes, then merges.

    Deterministic for the same texts in the same order. Raises `UserError` when `vocab_size` cannot hold the bytes.
    """
    if vocab_size < SMALLEST_VOCABULARY:
        raise UserError(
            f"vocab_size: {vocab_size} is too small; {len(TRAINED_ROLES)} special tokens and 256 bytes take"
            f" {SMALLEST_VOCABULARY}"
        )
    tokenizer = tokenizers.Tokenizer(models.BPE())
    split = pre_tokenizers.Split(tokenizers.Regex(QWEN2_PATTERN), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=role_tokens(),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(batches(texts), trainer=trainer)
    return finish(tokenizer, role_config())
