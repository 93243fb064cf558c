"""Which documents count as the same."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, field_validator

from pipeline.settings.base import Settings
from pipeline.settings.inputs import InputSpec


class DedupSettings(Settings):
    """Exact and near duplicates, and documents that hold text of an evaluation set."""

    # Evaluation files count by their content, under the key "decontaminate" (see pipeline.process).
    NEUTRAL: ClassVar[frozenset[str]] = frozenset({"decontaminate"})

    exact_dedup: bool = Field(True, description="keep only the first of documents with the same cleaned text")
    exact_dedup_normalized: bool = Field(
        False, description="let exact_dedup compare words only: not case, punctuation and white space"
    )
    near_dedup: bool = Field(
        False, description="keep only the first of documents that nearly say the same (MinHash over word n-grams)"
    )
    near_dedup_threshold: float = Field(
        0.75, ge=0.3, le=1, description="estimated Jaccard similarity from which two documents are near duplicates"
    )
    near_dedup_ngram: int = Field(
        5, ge=1, le=50, description="words in one n-gram; in Chinese and other unspaced scripts a character is a word"
    )
    near_dedup_permutations: int = Field(
        128, ge=16, le=512, description="values of a MinHash signature: more estimate the similarity more exactly"
    )
    decontaminate: list[str | InputSpec] = Field(
        [], description="evaluation files; documents that share an n-gram of words with them are rejected"
    )
    decontaminate_ngram: int = Field(
        13, ge=1, le=100, description="words in such an n-gram; in unspaced scripts a character is a word"
    )

    @field_validator("decontaminate", mode="before")
    @classmethod
    def _one_or_many_sets(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | dict) else value
