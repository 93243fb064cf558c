"""Write shards: tokens stream into a temporary `.bin`; a finished shard gets its content-hashed name by rename."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from foundation import atomic, fingerprint
from foundation.failpoints import failpoint
from shards.documents import EXTRAS, RECORD, Rows, encode_array
from shards.manifest import FileEntry, ShardEntry, SplitEntry
from shards.megatron import encode_index
from shards.token_file import TokenFile


class SplitWriter:
    """Writes the shards of one split into `directory`, at most `shard_tokens` tokens each (a document stays whole).

    Call `append` with runs of whole documents in order, then `finish`; how the documents are grouped into runs changes
    nothing. Every shard gets the optional tables named in `extras`. Memory: the records of one shard.
    """

    def __init__(
        self, directory: Path, dtype: np.dtype[np.generic], shard_tokens: int, extras: Iterable[str] = ()
    ) -> None:
        self.directory = directory
        self.dtype = dtype
        self.shard_tokens = shard_tokens
        self.shards: list[ShardEntry] = []
        self._extras = tuple(extras)
        self._open: _OpenShard | None = None

    def append(
        self,
        tokens: npt.NDArray[np.generic],
        lengths: npt.NDArray[np.int32],
        records: Rows,
        text_bytes: npt.NDArray[np.integer],
        extras: Mapping[str, Rows] | None = None,
    ) -> None:
        """Add documents: `tokens` (sum of lengths,), `lengths` (n,), `records` (n,) of RECORD, `text_bytes` (n,), and
        rows of optional tables whose `document` counts from the first of these documents. `lengths` and `records` are
        kept: do not change them."""
        assert tokens.dtype == self.dtype and records.dtype == RECORD
        assert len(records) == len(lengths) == len(text_bytes)
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        first = 0
        while first < len(lengths):
            if self._open is None:
                self._open = _OpenShard(self.directory, len(self.shards), self._extras)
            room = self.shard_tokens - self._open.tokens
            last = int(np.searchsorted(offsets, offsets[first] + room, side="right")) - 1
            if last <= first:
                if self._open.documents:
                    self._close_shard()
                    continue
                last = first + 1  # longer than a shard: it gets one of its own
            rows = {name: _between(table, first, last) for name, table in (extras or {}).items()}
            part = slice(first, last)
            data = tokens[offsets[first] : offsets[last]]
            self._open.append(data, lengths[part], records[part], text_bytes[part], rows)
            first = last

    def finish(self) -> SplitEntry:
        """Close the last shard and return the split's manifest entry."""
        if self._open is not None:
            self._close_shard()
        return SplitEntry(
            documents=sum(shard.documents for shard in self.shards),
            tokens=sum(shard.tokens for shard in self.shards),
            text_bytes=sum(shard.text_bytes for shard in self.shards),
            shards=self.shards,
        )

    def abandon(self) -> None:
        """Drop the unfinished shard's temporary file."""
        if self._open is not None:
            self._open.abandon()
            self._open = None

    def _close_shard(self) -> None:
        assert self._open is not None
        self.shards.append(self._open.close(self.dtype))
        self._open = None


def _between(rows: Rows, first: int, last: int) -> Rows:
    """The rows of documents `first` … `last` - 1, which become 0 …."""
    chosen = rows[(rows["document"] >= first) & (rows["document"] < last)]
    chosen["document"] -= first
    return chosen


class _OpenShard:
    """The shard that is being written."""

    def __init__(self, directory: Path, number: int, extras: tuple[str, ...]) -> None:
        self.directory, self.number = directory, number
        self.tokens = self.documents = self._text_bytes = 0
        self._lengths: list[npt.NDArray[np.int32]] = []
        self._records: list[Rows] = []
        self._rows: dict[str, list[Rows]] = {name: [np.zeros(0, EXTRAS[name][1])] for name in extras}
        directory.mkdir(parents=True, exist_ok=True)
        self._temporary: Path | None = atomic.temporary_beside(directory / f"{number:05d}.bin")
        self._file = TokenFile(self._temporary)

    def append(
        self,
        tokens: npt.NDArray[np.generic],
        lengths: npt.NDArray[np.int32],
        records: Rows,
        text_bytes: npt.NDArray[np.integer],
        rows: Mapping[str, Rows],
    ) -> None:
        """Add documents; see `SplitWriter.append`."""
        self._file.append(np.ascontiguousarray(tokens).view(np.uint8).data)
        for name, table in rows.items():
            moved = table.copy()
            moved["document"] += self.documents
            self._rows[name].append(moved)
        self.tokens += len(tokens)
        self.documents += len(lengths)
        self._text_bytes += int(text_bytes.sum(dtype=np.int64))
        self._lengths.append(lengths)
        self._records.append(records)

    def close(self, dtype: np.dtype[np.generic]) -> ShardEntry:
        """Sync, give every file its name and return the manifest's entry."""
        assert self._temporary is not None
        with ThreadPoolExecutor(1 + len(EXTRAS) + 2, "shard") as pool:  # each waits for the disk, the others go on
            finishing = pool.submit(self._file.finish)
            contents = {".idx": encode_index(np.concatenate(self._lengths), dtype)}
            contents[".docs.npy"] = encode_array(np.concatenate(self._records))
            for name, tables in self._rows.items():
                contents[EXTRAS[name][0]] = encode_array(np.concatenate(tables))
            sums = {suffix: fingerprint.of_bytes(data) for suffix, data in contents.items()}
            files = {".bin": FileEntry(bytes=self.tokens * dtype.itemsize, sha256=finishing.result())}
            files |= {suffix: FileEntry(bytes=len(data), sha256=sums[suffix]) for suffix, data in contents.items()}
            content = fingerprint.of_bytes("".join(entry.sha256 for entry in files.values()).encode())
            name = f"{self.number:05d}-{fingerprint.short(content)}"
            failpoint("shard.before_rename", self._temporary)
            os.replace(self._temporary, self.directory / f"{name}.bin")
            self._temporary = None
            failpoint("shard.after_rename", self.directory)
            paths = [self.directory / f"{name}{suffix}" for suffix in contents]
            list(pool.map(atomic.write_bytes, paths, contents.values()))  # each also syncs the name of the .bin
        return ShardEntry(
            name=name, documents=self.documents, tokens=self.tokens, text_bytes=self._text_bytes, files=files
        )

    def abandon(self) -> None:
        """Remove the temporary file."""
        self._file.close()
        if self._temporary is not None:  # also when closing the shard failed
            self._temporary.unlink(missing_ok=True)
            self._temporary = None
