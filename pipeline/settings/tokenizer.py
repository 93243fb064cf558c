"""The tokenizer: given or trained."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from foundation.quantities import Count, Size
from pipeline.settings.base import Settings

Place = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, PurePath) else value)]
Kind = Literal["bpe", "wordpiece", "wordlevel", "unigram"]


class TokenizerSettings(Settings):
    """The tokenizer and its engine."""

    # A given tokenizer counts by its content, under the key "tokenizer" (see pipeline.run).
    NEUTRAL: ClassVar[frozenset[str]] = frozenset({"tokenizer", "tokenizer_engine"})
    TRAINING: ClassVar[frozenset[str]] = frozenset(
        {"tokenizer_kind", "lowercase", "vocab_size", "tokenizer_sample_bytes"}
    )
    """Settings that say nothing when a tokenizer is given."""

    tokenizer: Place | None = Field(
        None,
        description="tokenizer to use: a directory, a tokenizer.json, BERT's vocab.txt, or a hub repository as"
        " OWNER/NAME or hf://OWNER/NAME; null trains one on the input",
    )
    tokenizer_kind: Kind = Field(
        "bpe",
        description="kind of a tokenizer that is trained: bpe (byte-level), wordpiece (BERT's), wordlevel (whole"
        " words), unigram (SentencePiece's, unknown characters as bytes)",
    )
    lowercase: bool = Field(
        True,
        description="a trained wordpiece or wordlevel tokenizer lowers capitals and drops accents, as BERT uncased",
    )
    vocab_size: Count = Field(4096, ge=1, description="vocabulary size of a tokenizer that is trained")
    tokenizer_sample_bytes: Size = Field(
        64_000_000, ge=1, description="bytes of text, spread over the input, that a tokenizer is trained on"
    )
    tokenizer_engine: Literal["auto", "reference"] = Field(
        "auto", description="auto: the fast engine, audited, where it supports the tokenizer; reference: never"
    )
    sentence_borders: bool = Field(
        False, description="record where sentences end (English and Chinese), for next-sentence prediction"
    )
    max_length: Count | None = Field(
        None,
        ge=2,
        description="cut longer documents into pieces of at most so many tokens, terminator included; null for no"
        " limit",
    )
