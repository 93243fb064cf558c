"""Check the shards of a dataset: sizes, checksums, and that what they hold fits together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from foundation.errors import UserError
from pipeline.verification.problems import Problems
from shards import megatron
from shards.documents import EXTRAS, NO_LABEL, RECORD, check_rows, read_records, read_rows
from shards.manifest import FileEntry, Manifest, ShardEntry

_CHUNK = 1 << 22
Progress = Callable[[int], object]


def shard_bytes(manifest: Manifest) -> int:
    """Bytes of all shard files, as the manifest has them."""
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    return sum(entry.bytes for shard in shards for entry in shard.files.values())


def check_shards(dataset: Path, manifest: Manifest, problems: Problems, progress: Progress) -> None:
    """Name every damaged shard file. A file whose checksum holds is looked into as well: a program that wrote nonsense
    also wrote the checksum of that nonsense."""
    hashes: dict[str, list[npt.NDArray[np.void]]] = {}
    for split, entry in manifest.splits.items():
        for shard in entry.shards:
            names = {suffix: f"{split}/{shard.name}{suffix}" for suffix in shard.files}
            for suffix, name in names.items():
                _check_file(dataset / name, name, shard.files[suffix], problems, progress)
            if not any(name in problems for name in names.values()):
                hashes.setdefault(split, []).append(_check_content(dataset, manifest, split, shard, problems))
    if manifest.settings.get("exact_dedup"):
        _check_splits_are_disjoint(hashes, problems)


def _check_file(path: Path, name: str, entry: FileEntry, problems: Problems, progress: Progress) -> None:
    try:
        size = path.stat().st_size
        if size != entry.bytes:
            problems.add(name, f"has {size} bytes, the manifest says {entry.bytes}")
            progress(entry.bytes)
            return
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                progress(len(chunk))
        if digest.hexdigest() != entry.sha256:
            problems.add(name, "its checksum is not the manifest's")
    except FileNotFoundError:
        problems.add(name, "is missing")
        progress(entry.bytes)


def _check_content(
    dataset: Path, manifest: Manifest, split: str, shard: ShardEntry, problems: Problems
) -> npt.NDArray[np.void]:
    """Check a shard whose files are those the manifest names; its content hashes (n,)."""
    prefix = f"{split}/{shard.name}"
    name = f"{prefix}.idx"
    try:
        index = megatron.read_index(dataset / name)
        name = f"{prefix}.docs.npy"
        records = read_records(dataset / name, shard.documents)
    except UserError as error:
        problems.add(name, str(error))
        return np.zeros(0, "V16")
    _check_index(manifest, shard, prefix, index, problems)
    if f"{prefix}.idx" not in problems:
        _check_tokens(dataset, manifest, prefix, index, problems)
        _check_tables(dataset, manifest, shard, prefix, index, problems)
    _check_records(manifest, prefix, records, problems)
    return np.array(records["content_hash"])


def _check_index(manifest: Manifest, shard: ShardEntry, prefix: str, index: megatron.Index, problems: Problems) -> None:
    name, lengths = f"{prefix}.idx", index.lengths.astype(np.int64)
    ends = np.cumsum(lengths)
    if index.dtype != np.dtype(manifest.dtype).newbyteorder("<"):
        problems.add(name, f"tokens are {index.dtype}, the manifest says {manifest.dtype}")
    if len(lengths) != shard.documents or (lengths < 0).any() or int(lengths.sum()) != shard.tokens:
        problems.add(name, f"{len(lengths)} documents of {int(lengths.sum())} tokens, the manifest says"
                           f" {shard.documents} of {shard.tokens}")  # fmt: skip
    if not np.array_equal(index.pointers, (ends - lengths) * index.dtype.itemsize):
        problems.add(name, "its documents do not lie back to back")
    if not np.array_equal(index.document_index, np.arange(len(lengths) + 1)):
        problems.add(name, "its document index is not one sequence a document")


def _check_tokens(dataset: Path, manifest: Manifest, prefix: str, index: megatron.Index, problems: Problems) -> None:
    name, terminator = f"{prefix}.bin", manifest.terminator
    if not len(index.lengths) or not index.lengths.sum():
        return
    tokens = np.memmap(dataset / name, index.dtype, "r")
    for start in range(0, len(tokens), _CHUNK):
        chunk = tokens[start : start + _CHUNK]
        if int(chunk.max()) >= manifest.vocab_size or int(chunk.min()) < 0:
            place = start + int(np.argmax((chunk >= manifest.vocab_size) | (chunk < 0)))
            problems.add(name, f"token {place} has id {int(tokens[place])}, the vocabulary has {manifest.vocab_size}")
            break
    ends = np.cumsum(index.lengths, dtype=np.int64)
    for back, wanted in enumerate(reversed(terminator), start=1):
        wrong = np.flatnonzero((index.lengths < back) | (tokens[np.maximum(ends - back, 0)] != wanted))
        if len(wrong):
            problems.add(name, f"{len(wrong)} documents do not end with {terminator}, the first is {int(wrong[0])}")


def _check_tables(
    dataset: Path, manifest: Manifest, shard: ShardEntry, prefix: str, index: megatron.Index, problems: Problems
) -> None:
    """Trained spans and sentence borders, where the dataset has them."""
    for table, (suffix, _) in EXTRAS.items():
        if suffix in shard.files:
            try:
                rows = read_rows(dataset / f"{prefix}{suffix}", table)
                fault = check_rows(table, rows, index.lengths, len(manifest.terminator))
            except UserError as error:
                fault = str(error)
            if fault is not None:
                problems.add(f"{prefix}{suffix}", fault)


def _check_records(manifest: Manifest, prefix: str, records: npt.NDArray[np.void], problems: Problems) -> None:
    assert records.dtype == RECORD
    name = f"{prefix}.docs.npy"
    if len(records) and int(records["source"].max()) >= len(manifest.inputs):
        problems.add(name, f"names source {int(records['source'].max())} of {len(manifest.inputs)}")
    if len(records) and int(records["label"].min()) < NO_LABEL:
        problems.add(name, f"has the label {int(records['label'].min())}")


def _check_splits_are_disjoint(hashes: dict[str, list[npt.NDArray[np.void]]], problems: Problems) -> None:
    """Equal texts lie in one split: else a model is judged by what it has read."""
    seen = {split: np.unique(np.concatenate(parts)) for split, parts in hashes.items() if parts}
    for split in seen.keys() - {"train"}:
        others = [name for name in seen if name == "train" or name > split]
        for other in others:
            both = np.intersect1d(seen[split], seen[other], assume_unique=True)
            if len(both):
                problems.add(f"{split}/", f"{len(both)} of its documents are in {other}, too")
