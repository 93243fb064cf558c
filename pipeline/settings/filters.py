"""Which documents are rejected."""

from __future__ import annotations

from pydantic import Field

from foundation.quantities import Count
from pipeline.settings.base import Settings


class FilterSettings(Settings):
    """Filters and their thresholds."""

    min_chars: int = Field(1, ge=1, description="reject shorter documents, in characters after cleaning")
    max_chars: Count | None = Field(None, ge=1, description="reject longer documents, in characters; null for no limit")
