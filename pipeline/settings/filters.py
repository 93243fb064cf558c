"""Which documents are rejected."""

from __future__ import annotations

from pydantic import Field, model_validator

from foundation.quantities import Count
from pipeline.settings.base import Settings


class FilterSettings(Settings):
    """Filters and their thresholds."""

    min_chars: int = Field(1, ge=1, description="reject shorter documents, in characters after cleaning")
    max_chars: Count | None = Field(None, ge=1, description="reject longer documents, in characters; null for no limit")
    max_symbols: float | None = Field(
        0.5, ge=0, le=1, description="reject documents with a larger share of symbols among the visible characters"
    )
    max_digits: float | None = Field(
        0.5, ge=0, le=1, description="reject documents with a larger share of digits among the visible characters"
    )
    min_letters: float | None = Field(
        0.3, ge=0, le=1, description="reject documents with a smaller share of letters (of any script)"
    )
    min_cjk: float | None = Field(
        None, ge=0, le=1, description="reject documents with a smaller share of Han, kana and bopomofo characters"
    )
    max_cjk: float | None = Field(None, ge=0, le=1, description="reject documents with a larger share of them")
    max_repeated_lines: float | None = Field(
        0.5, ge=0, le=1, description="reject documents with a larger share of bytes in repeated lines"
    )
    max_repeated_ngrams: float | None = Field(
        0.5, ge=0, le=1, description="reject documents with a larger share of repeated passages (n-grams of 32 bytes)"
    )

    @model_validator(mode="after")
    def _ranges(self) -> FilterSettings:
        for low, high in (("min_chars", "max_chars"), ("min_cjk", "max_cjk")):
            least, most = getattr(self, low), getattr(self, high)
            if least is not None and most is not None and most < least:
                raise ValueError(f"{high} {most} is below {low} {least}")
        return self
