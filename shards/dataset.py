"""Read token datasets by memory map: our own directories, Megatron pairs (.bin/.idx) and nanoGPT's flat .bin.

One split is seen as one stream of tokens: its shards back to back, each a run of documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from foundation import fingerprint
from foundation.errors import UserError
from shards import megatron
from shards.documents import EXTRAS, read_records, read_rows, rows_of
from shards.manifest import FILE_NAME, TOKENIZER_DIRECTORY, FileEntry, Manifest, RoleEntry

NANOGPT_DTYPE = np.dtype("<u2")


@dataclass(frozen=True)
class Shard:
    """One mapped shard. `pointers` are positions within the `.bin`, in bytes, at which its documents begin."""

    path: Path
    tokens: npt.NDArray[np.generic]  # (tokens,) read-only memory map
    pointers: npt.NDArray[np.int64]  # (documents,)
    lengths: npt.NDArray[np.int32] | npt.NDArray[np.int64]  # (documents,)
    records: npt.NDArray[np.void] | None  # (documents,), None for shards not written by us
    spans: npt.NDArray[np.void] | None = None  # (rows,) of SPAN, None where the dataset has none
    sentences: npt.NDArray[np.void] | None = None  # (rows,) of SENTENCE, None where the dataset has none


class Dataset:
    """One split of a dataset. Opening checks every file's size; it reads no tokens."""

    def __init__(
        self,
        path: Path,
        split: str,
        shards: list[Shard],
        identity: str,
        manifest: Manifest | None = None,
        parts: Sequence[str] = (),
    ) -> None:
        self.path = path
        self.split = split
        self.shards = shards
        self.identity = identity
        self.manifest = manifest
        self.parts = list(parts)
        """Identities of the datasets that this one was joined of; empty for one that was not."""
        self.token_offsets = np.cumsum([0, *(len(shard.tokens) for shard in shards)], dtype=np.int64)
        self.document_offsets = np.cumsum([0, *(len(shard.pointers) for shard in shards)], dtype=np.int64)

    @classmethod
    def open(cls, path: Path | str, split: str = "train") -> Dataset:
        """Open `split` of a dataset directory, or a single `.bin` (then `split` only names it).

        `path` is a dataset directory, `NAME.bin`, or `NAME` with `NAME.bin` beside it. A split without documents
        has no shards and zero tokens. Raises `UserError` for what is missing, damaged or of another size.
        """
        path = Path(path)
        if path.is_dir() or (path / FILE_NAME).exists():
            manifest = Manifest.load(path)
            entry = manifest.splits.get(split)
            shards = [_open_shard(path / split / s.name, s.files, manifest) for s in (entry.shards if entry else [])]
            return cls(path, split, shards, manifest.identity, manifest)
        binary = path if path.suffix == ".bin" else path.with_name(path.name + ".bin")
        if not binary.is_file():
            raise UserError(
                f"{path}: no dataset there; give a directory with a {FILE_NAME}, or the .bin file of a nanoGPT or"
                " Megatron dataset. `python -m pipeline.process --resume` makes the default one"
            )
        shard = _open_foreign(binary)
        return cls(path, split, [shard], _foreign_identity(binary, shard))

    @classmethod
    def join(cls, datasets: Sequence[Dataset]) -> Dataset:
        """One split out of several of one tokenizer, one after the other, named for the first."""
        if len(datasets) == 1:
            return datasets[0]
        first = datasets[0]
        parts = [dataset.identity for dataset in datasets]
        assert len({dataset.terminator_length for dataset in datasets if dataset.manifest}) < 2
        shards = [shard for dataset in datasets for shard in dataset.shards]
        whole = all(dataset.manifest is not None for dataset in datasets)
        manifest = first.manifest if whole else None
        return cls(first.path, first.split, shards, fingerprint.of_json(parts), manifest, parts)

    @property
    def tokens(self) -> int:
        """Number of tokens, terminators included."""
        return int(self.token_offsets[-1])

    @property
    def documents(self) -> int:
        """Number of documents."""
        return int(self.document_offsets[-1])

    @property
    def vocab_size(self) -> int | None:
        """Vocabulary size the dataset was made with; None for a foreign `.bin`."""
        return self.manifest.vocab_size if self.manifest else None

    @property
    def roles(self) -> dict[str, RoleEntry]:
        """Token roles recorded in the manifest; empty for a foreign `.bin`."""
        return self.manifest.roles if self.manifest else {}

    @property
    def terminator_length(self) -> int:
        """Tokens that end every document; 0 for a foreign `.bin`, of which nobody says how its documents end."""
        return len(self.manifest.terminator) if self.manifest else 0

    @property
    def tokenizer_path(self) -> Path | None:
        """The dataset's own tokenizer directory; None for a foreign `.bin`."""
        return self.path / TOKENIZER_DIRECTORY if self.manifest else None

    def document(self, number: int) -> npt.NDArray[np.generic]:
        """Tokens of one document, shape (length,), terminator included; a view into the memory map."""
        shard, index = self._locate(number)
        start = int(shard.pointers[index]) // shard.tokens.itemsize
        return shard.tokens[start : start + int(shard.lengths[index])]

    def document_start(self, number: int) -> int:
        """Where in the stream of the split a document begins."""
        shard, index = self._locate(number)
        before = int(np.searchsorted(self.document_offsets, number, side="right")) - 1
        return int(self.token_offsets[before]) + int(shard.pointers[index]) // shard.tokens.itemsize

    def record(self, number: int) -> np.void:
        """The document record of one document (see `shards.documents.RECORD`)."""
        shard, index = self._locate(number)
        if shard.records is None:
            raise UserError(f"{shard.path}: this dataset carries no document records")
        return shard.records[index]  # type: ignore[no-any-return]

    def spans(self, number: int) -> npt.NDArray[np.int64] | None:
        """Start and end of the token ranges of a document that a loss counts as targets (see `shards.documents.SPAN`),
        shape (spans, 2); plain text counts whole. None where the dataset records none."""
        shard, index = self._locate(number)
        if shard.spans is None:
            return None
        rows = rows_of(shard.spans, index)
        if not len(rows):
            return np.array([[0, shard.lengths[index]]], np.int64)
        spans = np.stack([rows["start"], rows["end"]], axis=1).astype(np.int64)
        return spans[spans[:, 0] < spans[:, 1]]

    def sentences(self, number: int) -> npt.NDArray[np.int64] | None:
        """Ends of the sentences of a document, in tokens from its start, shape (sentences,); the terminator
        stands after the last. None where the dataset records none."""
        shard, index = self._locate(number)
        if shard.sentences is None:
            return None
        rows = rows_of(shard.sentences, index)
        if not len(rows):
            terminator = len(self.manifest.terminator) if self.manifest else 0
            return np.array([shard.lengths[index] - terminator], np.int64)
        return rows["end"].astype(np.int64)

    def _locate(self, number: int) -> tuple[Shard, int]:
        if not 0 <= number < self.documents:
            raise IndexError(f"document {number} of {self.documents}")
        which = int(np.searchsorted(self.document_offsets, number, side="right")) - 1
        return self.shards[which], number - int(self.document_offsets[which])

    def max_token_id(self) -> int:
        """Largest token id; reads every token once (for datasets whose vocabulary nobody vouches for)."""
        return max((int(shard.tokens.max()) for shard in self.shards if len(shard.tokens)), default=-1)


def _open_shard(prefix: Path, files: dict[str, FileEntry], manifest: Manifest) -> Shard:
    for suffix, entry in files.items():
        path = prefix.with_name(prefix.name + suffix)
        expected = entry.bytes
        actual = path.stat().st_size if path.exists() else None
        if actual != expected:
            found = "is missing" if actual is None else f"has {actual} bytes"
            raise UserError(f"{path}: {found}, the manifest says {expected}; make the dataset again (--overwrite)")
    shard = _open_megatron(prefix.with_name(prefix.name + ".bin"))
    if shard.tokens.dtype != np.dtype(manifest.dtype).newbyteorder("<"):
        raise UserError(f"{prefix}: tokens are {shard.tokens.dtype}, the manifest says {manifest.dtype}")
    records = read_records(prefix.with_name(prefix.name + ".docs.npy"), len(shard.pointers))
    extras = {
        name: read_rows(prefix.with_name(prefix.name + suffix), name)
        for name, (suffix, _) in EXTRAS.items()
        if suffix in files
    }
    return Shard(shard.path, shard.tokens, shard.pointers, shard.lengths, records, **extras)


def _open_megatron(binary: Path) -> Shard:
    index = megatron.read_index(binary.with_suffix(".idx"))
    size = binary.stat().st_size
    count = len(index.lengths)
    expected = int(index.pointers[-1]) + int(index.lengths[-1]) * index.dtype.itemsize if count else 0
    if size != expected:
        raise UserError(f"{binary}: {size} bytes, its index announces {expected}; the file is damaged or unfinished")
    return Shard(binary, _map_tokens(binary, index.dtype), index.pointers, index.lengths, None)


def _join_sequences(shard: Shard) -> Shard:
    """The shard with its documents as the document index has them: Megatron may store one sequence a sentence, and
    none at all for an empty document. Costs O(documents), so it is left out for our own shards."""
    path = shard.path.with_suffix(".idx")
    first = megatron.read_index(path).document_index
    count = len(shard.lengths)
    if np.array_equal(first, np.arange(count + 1)):
        return shard
    if not len(first) or first[0] != 0 or first[-1] != count or (np.diff(first) < 0).any():
        raise UserError(f"{path}: damaged index, its document index does not run from 0 to {count} sequences")
    ends = np.cumsum(np.concatenate([[0], shard.lengths]), dtype=np.int64)
    pointers = np.append(shard.pointers, len(shard.tokens) * shard.tokens.itemsize)[first[:-1]]
    return Shard(shard.path, shard.tokens, pointers, ends[first[1:]] - ends[first[:-1]], shard.records)


def _open_foreign(binary: Path) -> Shard:
    if binary.with_suffix(".idx").exists():
        return _join_sequences(_open_megatron(binary))
    size = binary.stat().st_size
    if size % NANOGPT_DTYPE.itemsize:
        raise UserError(f"{binary}: {size} bytes is no whole number of uint16 tokens; is it a nanoGPT .bin?")
    tokens = _map_tokens(binary, NANOGPT_DTYPE)
    count = 1 if len(tokens) else 0
    return Shard(binary, tokens, np.zeros(count, np.int64), np.full(count, len(tokens), np.int64), None)


def _map_tokens(path: Path, dtype: np.dtype[np.generic]) -> npt.NDArray[np.generic]:
    if path.stat().st_size == 0:  # an empty file cannot be mapped
        return np.zeros(0, dtype)
    return np.memmap(path, dtype=dtype, mode="r")


def _foreign_identity(binary: Path, shard: Shard) -> str:
    """Fingerprint of a foreign file and of the documents that its index makes of it, from sizes and 64 evenly spaced
    blocks, so that opening stays instant."""
    content = {"bytes": binary.stat().st_size, "blocks": _blocks(shard.tokens)}
    if binary.with_suffix(".idx").exists():
        content |= {"documents": len(shard.lengths), "lengths": _blocks(np.asarray(shard.lengths, "<i8"))}
    return fingerprint.of_json(content)


def _blocks(values: npt.NDArray[np.generic]) -> str:
    picks = np.linspace(0, max(0, len(values) - 1024), 64).astype(np.int64)
    return fingerprint.of_bytes(b"".join(values[p : p + 1024].tobytes() for p in picks))
