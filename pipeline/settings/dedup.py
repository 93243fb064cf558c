"""Which documents count as the same."""

from __future__ import annotations

from pydantic import Field

from pipeline.settings.base import Settings


class DedupSettings(Settings):
    """Exact and near duplicates."""

    exact_dedup: bool = Field(True, description="keep only the first of documents with the same cleaned text")
