"""The filters a configuration asks for, in order."""

from __future__ import annotations

from pipeline.config import PipelineConfig
from pipeline.filters.base import Filter
from pipeline.filters.length import LengthFilter


def build_filters(config: PipelineConfig) -> list[Filter]:
    """All configured filters; a document is dropped by the first that rejects it."""
    return [LengthFilter(config.min_chars, config.max_chars)]
