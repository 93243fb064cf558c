"""The tokenizer: given or trained."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from foundation.quantities import Count, Size
from pipeline.settings.base import Settings


class TokenizerSettings(Settings):
    """The tokenizer and its engine."""

    # A given tokenizer counts by its content, under the key "tokenizer" (see pipeline.run).
    NEUTRAL: ClassVar[frozenset[str]] = frozenset({"tokenizer", "tokenizer_engine"})
    TRAINING: ClassVar[frozenset[str]] = frozenset({"vocab_size", "tokenizer_sample_bytes"})
    """Settings that say nothing when a tokenizer is given."""

    tokenizer: Path | None = Field(
        None, description="tokenizer directory or tokenizer.json to use; null trains one on the input"
    )
    vocab_size: Count = Field(4096, ge=1, description="vocabulary size of a tokenizer that is trained")
    tokenizer_sample_bytes: Size = Field(
        64_000_000, ge=1, description="bytes of text, spread over the input, that a tokenizer is trained on"
    )
    tokenizer_engine: Literal["auto", "reference"] = Field(
        "auto", description="auto: the fast engine, audited, where it supports the tokenizer; reference: never"
    )
