"""What is published and what stands beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from foundation.quantities import Count
from pipeline.settings.base import Settings


class OutputSettings(Settings):
    """The dataset, its splits and its shards."""

    NEUTRAL: ClassVar[frozenset[str]] = frozenset({"output", "report"})

    output: Path = Field(Path("dataset/demo"), description="dataset directory to make")
    val_fraction: float = Field(0.02, ge=0, lt=1, description="share of documents for the validation split")
    test_fraction: float = Field(0.0, ge=0, lt=1, description="share of documents for the test split")
    max_val_tokens: Count = Field(250_000, ge=1, description="most tokens in the validation or the test split")
    shard_tokens: Count = Field(100_000_000, ge=1, description="most tokens in one shard file")
    rejected_samples: Annotated[Count, Field(ge=0)] | Literal["all"] = Field(
        100, description="rejected documents shown in rejected/, for each reason; all: every one, with its whole text"
    )
    report: bool = Field(True, description="write report/index.html, a page about what became of the text")
    seed: int = Field(1234, ge=0, description="seed of the splits")
