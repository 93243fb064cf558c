"""Which documents count as the same."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from pipeline.settings.base import Settings


class DedupSettings(Settings):
    """Exact and near duplicates, and documents that hold text of an evaluation set."""

    # Evaluation files count by their content, under the key "decontaminate" (see pipeline.process).
    NEUTRAL: ClassVar[frozenset[str]] = frozenset()

    exact_dedup: bool = Field(True, description="keep only the first of documents with the same cleaned text")
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
