"""Datasets made for these tests; small, with recognisable tokens."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from shards.dataset import Dataset
from shards.documents import RECORD
from shards.manifest import InputEntry, Manifest, RoleEntry, SplitEntry
from shards.writer import SplitWriter

END = 3
"""The terminator of the documents made here; it also occurs inside them, for readers go by position."""


def make_documents(lengths: Sequence[int], dtype: str = "uint16") -> list[np.ndarray]:
    """Documents of the given lengths whose tokens count up, so that every position is recognisable."""
    limit = 60000 if dtype == "uint16" else 100_000
    offsets = np.cumsum([0, *lengths])
    return [(np.arange(a, a + n) % limit).astype(dtype) for a, n in zip(offsets, lengths, strict=False)]


def make_records(count: int, first: int = 0) -> np.ndarray:
    records = np.zeros(count, RECORD)
    records["source"] = 1
    records["label"] = -1
    records["offset"] = np.arange(first, first + count) * 101
    records["content_hash"] = [struct.pack("<QQ", first + i, 7) for i in range(count)]
    return records


def write_split(directory: Path, documents: Sequence[np.ndarray], shard_tokens: int, dtype: str) -> SplitEntry:
    writer = SplitWriter(directory, np.dtype(dtype), shard_tokens)
    for number, document in enumerate(documents):
        writer.append(document, np.array([len(document)], np.int32), make_records(1, number), np.array([number]))
    return writer.finish()


def write_dataset(
    path: Path,
    lengths: Sequence[int],
    shard_tokens: int = 10**9,
    dtype: str = "uint16",
    val_lengths: Sequence[int] = (),
) -> list[np.ndarray]:
    """A dataset directory whose train split has documents of `lengths`; returns the documents."""
    documents = make_documents(lengths, dtype)
    splits = {
        "train": write_split(path / "train", documents, shard_tokens, dtype),
        "val": write_split(path / "val", make_documents(val_lengths, dtype), shard_tokens, dtype),
    }
    manifest = Manifest(
        dtype=dtype,
        vocab_size=65000 if dtype == "uint16" else 120_000,
        roles={"end_of_text": RoleEntry(token="<end>", id=END)},
        terminator=[END],
        tokenizer_fingerprint="t" * 64,
        pipeline_fingerprint="p" * 64,
        settings={"seed": 1},
        versions={"tokenizers": "0"},
        block_bytes=1000,
        inputs=[InputEntry(name="a.jsonl", bytes=5, fingerprint="f" * 64)],
        splits=splits,
    )
    manifest.save(path)
    return documents


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """The helpers above: `make.documents`, `make.records`, `make.split`, `make.dataset`."""
    return SimpleNamespace(
        documents=make_documents, records=make_records, split=write_split, dataset=write_dataset, end=END
    )


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, list[np.ndarray]]:
    """Seven documents in three shards."""
    path = tmp_path / "set"
    return path, write_dataset(path, [5, 7, 11, 2, 3, 13, 1], shard_tokens=17, val_lengths=[4, 4])


def silent(share: float) -> None:
    """Hears what share of a plan is made."""
    assert 0 <= share <= 1


def built(make: SimpleNamespace, folder: Path, lengths: list[int], shard_tokens: int, terminated: bool) -> Dataset:
    """A dataset whose documents have these `lengths`; not `terminated`, nothing says how they end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        make.dataset(folder, lengths, shard_tokens)
    dataset = Dataset.open(folder)
    if not terminated:
        dataset.manifest = None
    return dataset
