"""What is exported: the opened splits of a dataset, its tokenizer and the names of its sources."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foundation.errors import UserError
from shards.dataset import Dataset, Shard
from shards.documents import NO_LABEL
from shards.manifest import SPLITS, TOKENIZER_DIRECTORY, Manifest
from tokenization.tokenizer import Tokenizer


@dataclass(frozen=True)
class Exported:
    """A dataset that was opened for export."""

    path: Path
    manifest: Manifest
    splits: dict[str, Dataset]  # those that hold documents

    @classmethod
    def open(cls, path: Path) -> Exported:
        """Open every split. Raises `UserError` for what is no dataset, damaged or empty."""
        manifest = Manifest.load(path)
        opened = {split: Dataset.open(path, split) for split in SPLITS}
        splits = {split: dataset for split, dataset in opened.items() if dataset.documents}
        if not splits:
            raise UserError(f"{path}: the dataset holds no document, so there is nothing to export")
        return cls(path, manifest, splits)

    @property
    def tokens(self) -> int:
        """Tokens of all splits."""
        return sum(dataset.tokens for dataset in self.splits.values())

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The dataset's own tokenizer."""
        return Tokenizer.load(self.path / TOKENIZER_DIRECTORY)

    @cached_property
    def source_names(self) -> list[str]:
        """Names of the input files, by source number."""
        return [entry.name for entry in self.manifest.inputs]

    @cached_property
    def labelled(self) -> bool:
        """Whether any document has a label."""
        return any(
            bool((shard.records["label"] != NO_LABEL).any())
            for dataset in self.splits.values()
            for shard in dataset.shards
            if shard.records is not None
        )


def document_runs(shard: Shard, most_tokens: int) -> Iterator[tuple[int, int]]:
    """Runs [first, last) of neighbouring documents with at most `most_tokens` tokens (one document at least)."""
    ends = np.cumsum(shard.lengths, dtype=np.int64)
    first = 0
    while first < len(ends):
        before = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + most_tokens, side="right")))
        yield first, last
        first = last


def run_tokens(shard: Shard, first: int, last: int) -> npt.NDArray[np.generic]:
    """Tokens of the documents [first, last), which lie back to back in our own shards: a view."""
    start = int(shard.pointers[first]) // shard.tokens.itemsize
    return shard.tokens[start : start + int(shard.lengths[first:last].sum(dtype=np.int64))]


def records_of(shard: Shard) -> npt.NDArray[Any]:
    """The document records of a shard of a dataset directory, which always has them."""
    assert shard.records is not None
    return shard.records
