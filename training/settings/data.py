"""The section `data`: what is read."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from foundation.quantities import Count
from training.settings.base import Settings


class DataConfig(Settings):
    """What is read."""

    FREE: ClassVar[frozenset[str]] = frozenset({"train_data_path", "val_data_path", "tokenizer_path", "prefetch_steps"})

    train_data_path: Path = Field(
        Path("dataset/demo"),
        description="dataset directory, nanoGPT .bin or Megatron prefix to train on",
    )
    val_data_path: Path | None = Field(
        None, description="dataset to validate on; null: the validation split of train_data_path"
    )
    tokenizer_path: Path | None = Field(
        None, description="directory with tokenizer.json; null: the dataset's own (a plain .bin needs one)"
    )
    document_mask: bool = Field(
        True, description="attention and positions stop at the borders of documents that share a sequence"
    )
    max_seq_len: Count = Field(256, ge=2, description="tokens in one training sequence")
    prefetch_steps: int = Field(2, ge=1, le=64, description="steps of batches prepared ahead of the model")
