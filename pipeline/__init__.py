"""The data half: raw text to token shards by tokenizer, plan, map and publish. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.data_processor import DataProcessor

__all__ = ["DataProcessor"]


def __getattr__(name: str) -> Any:
    """`DataProcessor` is loaded when it is asked for: importing a part of this package stays light."""
    if name == "DataProcessor":
        from pipeline.data_processor import DataProcessor

        return DataProcessor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
