"""A part: what mapping one task gave. A directory of the work area, committed by rename, then by the journal.

tokens.bin        tokens of its documents back to back, terminators included, in the dataset's dtype
documents.npy     one DOCUMENT record each
NAME.npy          further arrays that mapping was asked for (see `PartWriter.add_array`)
quarantine.jsonl  records that could not be read (only if there are any)
rejected.jsonl    examples of rejected documents, by reason (only if there are any)
summary.json      counters, the input's block digests, timings
"""

from __future__ import annotations

import base64
import contextlib
import errno
import json
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import jsonlines
import numpy as np
import numpy.typing as npt
import orjson

from foundation import atomic, fingerprint
from foundation.failpoints import failpoint
from pipeline.sources.base import BadRecord
from pipeline.workspace.array_file import ArrayFile

DOCUMENT = np.dtype(
    [
        ("offset", "<u8"),
        ("content_hash", "V16"),
        ("label", "<i4"),
        ("tokens", "<u4"),  # terminator included
        ("extracted_bytes", "<u4"),  # UTF-8, before cleaning
        ("text_bytes", "<u4"),  # UTF-8, after cleaning
    ]
)
DOCUMENTS, SUMMARY = "documents.npy", "summary.json"
RAW_BYTES_KEPT = 64 * 1024


@dataclass
class Summary:
    """Counters of one part. Sums over parts give the dataset's accounts."""

    documents: int = 0
    tokens: int = 0
    newlines: int = 0
    extracted_bytes: int = 0
    rejected: dict[str, list[int]] = field(default_factory=dict)  # reason -> [records, extracted bytes]
    quarantined: dict[str, list[int]] = field(default_factory=dict)  # reason -> [records, raw bytes]
    cleaned: dict[str, int] = field(default_factory=dict)  # step -> documents changed
    digests: list[str] = field(default_factory=list)
    damage: str | None = None
    engine: str = ""
    versions: dict[str, str] = field(default_factory=dict)  # of what mapped it; none in parts of early versions
    seconds: dict[str, float] = field(default_factory=dict)
    files: dict[str, list[int]] = field(default_factory=dict)  # of the part's other files: bytes, CRC-32

    @property
    def bad_records(self) -> int:
        """Quarantined records."""
        return sum(count for count, _ in self.quarantined.values())

    @property
    def records(self) -> int:
        """All records read."""
        return self.documents + self.bad_records + sum(count for count, _ in self.rejected.values())


def count(table: dict[str, list[int]], reason: str, size: int) -> None:
    """Add one record of `size` bytes under `reason`."""
    entry = table.setdefault(reason, [0, 0])
    entry[0] += 1
    entry[1] += size


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write `rows` as JSON lines."""
    with jsonlines.open(path, "w", dumps=lambda row: orjson.dumps(row).decode()) as out:
        out.write_all(rows)


class PartWriter:
    """Collects a task's results in a temporary directory inside `staging`; `commit` renames it to `final`."""

    def __init__(self, staging: Path, final: Path, dtype: np.dtype[np.generic]) -> None:
        self._final = final
        self._dtype = dtype
        self._temporary = atomic.temporary_directory(staging, final.name)
        self._tokens = (self._temporary / "tokens.bin").open("wb")
        self._token_count = 0
        self._arrays: dict[str, ArrayFile] = {}
        self.documents = 0
        """Documents so far."""
        self._rows: dict[str, BinaryIO] = {}

    def add(self, tokens: npt.NDArray[np.generic], documents: npt.NDArray[np.void]) -> None:
        """Append documents (n,) of DOCUMENT and their tokens."""
        assert tokens.dtype == self._dtype and documents.dtype == DOCUMENT
        with atomic.naming(self._temporary):
            self._tokens.write(np.ascontiguousarray(tokens).view(np.uint8).data)
        self.add_array("documents", documents)
        self._token_count += len(tokens)
        self.documents += len(documents)
        failpoint("map.mid_part", self._temporary)

    def add_array(self, name: str, values: npt.NDArray[Any]) -> None:
        """Append `values` (n, …) to the part's array `name`, which is saved as NAME.npy."""
        with atomic.naming(self._temporary):
            if name not in self._arrays:
                self._arrays[name] = ArrayFile(self._temporary / f"{name}.npy", values.dtype, values.shape[1:])
            self._arrays[name].append(values)

    def quarantine(self, bad: BadRecord) -> None:
        """Keep a record that could not be read, with its raw bytes (the first 64 KiB)."""
        raw = bad.raw[:RAW_BYTES_KEPT]
        row = {
            "offset": bad.offset,
            "line": bad.line,
            "bytes": bad.size,
            "reason": bad.reason,
            "detail": bad.detail,
            "raw_base64": base64.b64encode(raw).decode(),
            "raw_complete": len(raw) == bad.size,
        }
        self.add_row("quarantine.jsonl", row)

    def add_row(self, name: str, row: dict[str, Any]) -> None:
        """Append a row to the part's file `name` (JSON lines)."""
        if name not in self._rows:
            self._rows[name] = (self._temporary / name).open("wb")
        with atomic.naming(self._temporary):
            self._rows[name].write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))

    def commit(self, summary: Summary) -> None:
        """Write, sync and rename. A part of the same name is the same part, made by a worker that lost its parent, or
        one that counts no longer."""
        with atomic.naming(self._temporary):
            self._write(summary)
        failpoint("map.before_rename", self._final)
        self._final.parent.mkdir(parents=True, exist_ok=True)
        if self._final.exists():
            shutil.rmtree(self._final)
        os.rename(self._temporary, self._final)
        atomic.fsync_directory(self._final.parent)
        failpoint("map.after_rename", self._final)

    def _write(self, summary: Summary) -> None:
        if not self.documents:
            self.add_array("documents", np.zeros(0, DOCUMENT))
        for file in (self._tokens, *self._rows.values()):
            file.close()
        for array in self._arrays.values():
            array.finish()
        summary.documents, summary.tokens = self.documents, self._token_count
        summary.files = {path.name: list(checksum_of(path)) for path in sorted(self._temporary.iterdir())}
        (self._temporary / SUMMARY).write_text(json.dumps(asdict(summary)))
        atomic.fsync_tree(self._temporary)

    def abandon(self) -> None:
        """Remove the temporary directory."""
        files: list[BinaryIO | ArrayFile] = [self._tokens, *self._rows.values(), *self._arrays.values()]
        for file in files:
            with contextlib.suppress(OSError):  # on a full disk, closing fails again at what is still buffered
                file.close()
        shutil.rmtree(self._temporary, ignore_errors=True)


@dataclass(frozen=True)
class Part:
    """A committed part, read lazily."""

    directory: Path

    def file(self, name: str) -> Path | None:
        """A file of the part on the local disk; None when the part has no such file."""
        path = self.directory / name
        return path if path.exists() else None

    def _must(self, name: str) -> Path:
        path = self.file(name)
        if path is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.directory / name))
        return path

    def summary(self) -> Summary:
        """Its counters."""
        return Summary(**json.loads(self._must(SUMMARY).read_bytes()))

    def checksum(self) -> str:
        """Fingerprint of the counters, by which the journal knows this very part."""
        return fingerprint.of_file(self._must(SUMMARY))

    def is_whole(self, *names: str) -> bool:
        """Whether all files, or those of `names`, are what the counters say they were. Reads them."""
        files = self.summary().files
        return all((path := self.file(name)) and checksum_of(path) == tuple(files[name]) for name in names or files)

    def documents(self) -> npt.NDArray[np.void]:
        """Its DOCUMENT records (n,), read into memory."""
        return np.load(self._must(DOCUMENTS), allow_pickle=False)  # type: ignore[no-any-return]

    def array(self, name: str) -> npt.NDArray[Any] | None:
        """Its array `name`, mapped; None when mapping made none."""
        path = self.file(f"{name}.npy")
        return None if path is None else np.load(path, mmap_mode="r", allow_pickle=False)

    def tokens(self, dtype: np.dtype[np.generic]) -> npt.NDArray[np.generic]:
        """Its tokens, mapped."""
        path = self._must("tokens.bin")
        return np.memmap(path, dtype, "r") if path.stat().st_size else np.zeros(0, dtype)

    def rows(self, name: str) -> Iterator[dict[str, Any]]:
        """The rows of quarantine.jsonl or rejected.jsonl."""
        path = self.file(name)
        if path is None:
            return
        with jsonlines.open(path, loads=orjson.loads) as rows:
            yield from rows


def checksum_of(path: Path) -> tuple[int, int]:
    """Bytes and CRC-32 of a file (CRC-32 finds every flipped bit, at 4 GB/s)."""
    size = value = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            size += len(chunk)
            value = zlib.crc32(chunk, value)
    return size, value
