"""Write shards: tokens stream into a temporary `.bin`; a finished shard gets its content-hashed name by rename."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from foundation import atomic, fingerprint
from foundation.failpoints import failpoint
from shards.documents import RECORD
from shards.manifest import FileEntry, ShardEntry, SplitEntry
from shards.megatron import encode_index


class SplitWriter:
    """Writes the shards of one split into `directory`, at most `shard_tokens` tokens each (a document stays whole).

    Call `append` with runs of whole documents in order, then `finish`. Memory: the records of one shard.
    """

    def __init__(self, directory: Path, dtype: np.dtype[np.generic], shard_tokens: int) -> None:
        self.directory = directory
        self.dtype = dtype
        self.shard_tokens = shard_tokens
        self.shards: list[ShardEntry] = []
        self._file: BinaryIO | None = None
        self._temporary: Path | None = None

    def append(
        self,
        tokens: npt.NDArray[np.generic],
        lengths: npt.NDArray[np.int32],
        records: npt.NDArray[np.void],
        text_bytes: int,
    ) -> None:
        """Add documents: `tokens` (sum of lengths,), `lengths` (n,), `records` (n,) of RECORD.

        They go into one shard together, so a run of documents longer than `shard_tokens` makes a longer shard.
        """
        assert tokens.dtype == self.dtype and records.dtype == RECORD and len(records) == len(lengths)
        if self._file is not None and self._tokens + len(tokens) > self.shard_tokens:
            self._close_shard()
        if self._file is None:
            self._open_shard()
        assert self._file is not None
        data = np.ascontiguousarray(tokens).view(np.uint8).data
        with atomic.naming(self.directory):
            self._file.write(data)
        self._hash.update(data)
        self._tokens += len(tokens)
        self._text_bytes += text_bytes
        self._lengths.append(lengths)
        self._records.append(records)

    def finish(self) -> SplitEntry:
        """Close the last shard and return the split's manifest entry."""
        if self._file is not None:
            self._close_shard()
        return SplitEntry(
            documents=sum(shard.documents for shard in self.shards),
            tokens=sum(shard.tokens for shard in self.shards),
            text_bytes=sum(shard.text_bytes for shard in self.shards),
            shards=self.shards,
        )

    def abandon(self) -> None:
        """Drop the unfinished shard's temporary file."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # on a full disk, closing fails again at what is still buffered
                self._file.close()
            self._file = None
        if self._temporary is not None:  # also when closing the shard failed
            self._temporary.unlink(missing_ok=True)
            self._temporary = None

    def _open_shard(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._temporary = atomic.temporary_beside(self.directory / f"{len(self.shards):05d}.bin")
        self._file = self._temporary.open("wb")
        self._hash = hashlib.sha256()
        self._tokens = 0
        self._text_bytes = 0
        self._lengths: list[npt.NDArray[np.int32]] = []
        self._records: list[npt.NDArray[np.void]] = []

    def _close_shard(self) -> None:
        assert self._file is not None
        assert self._temporary is not None
        with atomic.naming(self.directory):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        self._file = None
        failpoint("shard.before_rename", self._temporary)
        lengths = np.concatenate(self._lengths)
        index = encode_index(lengths, self.dtype)
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, np.concatenate(self._records), version=(1, 0), allow_pickle=False)
        records = buffer.getvalue()
        files = {
            ".bin": FileEntry(bytes=self._tokens * self.dtype.itemsize, sha256=self._hash.hexdigest()),
            ".idx": FileEntry(bytes=len(index), sha256=fingerprint.of_bytes(index)),
            ".docs.npy": FileEntry(bytes=len(records), sha256=fingerprint.of_bytes(records)),
        }
        content = fingerprint.of_bytes("".join(entry.sha256 for entry in files.values()).encode())
        name = f"{len(self.shards):05d}-{fingerprint.short(content)}"
        os.replace(self._temporary, self.directory / f"{name}.bin")
        self._temporary = None
        failpoint("shard.after_rename", self.directory)
        atomic.write_bytes(self.directory / f"{name}.idx", index)
        atomic.write_bytes(self.directory / f"{name}.docs.npy", records)  # also syncs the names of all three
        self.shards.append(
            ShardEntry(name=name, documents=len(lengths), tokens=self._tokens, text_bytes=self._text_bytes, files=files)
        )
