"""External grouping by buckets: entries go to files by the upper bits of their key, each file is read into memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from foundation import atomic
from foundation.failpoints import failpoint

BUCKET_BYTES = 12 * 2**20
BUFFER_BYTES = 32 * 2**20


class Buckets:
    """(key, number) pairs of 32 bits each, in `series` that are grouped apart (one for each band).

    Memory: BUFFER_BYTES while adding, the largest bucket while reading; equal keys share a bucket, so that one of a
    few keys that all numbers share is as large as they are many.
    """

    def __init__(self, directory: Path, series: int, numbers: int, bucket_bytes: int = BUCKET_BYTES) -> None:
        self._directory, self._series = directory, series
        self._bits = max(0, (8 * numbers - 1) // bucket_bytes).bit_length()
        self._waiting: dict[Path, list[npt.NDArray[np.uint64]]] = {}
        self._bytes = 0

    def add(self, keys: npt.NDArray[np.uint32], numbers: npt.NDArray[np.uint32]) -> None:
        """Add keys (series, n), a row for each series, of `numbers` (n,)."""
        for series, row in enumerate(keys):
            entries = (row.astype(np.uint64) << np.uint64(32)) | numbers
            if not self._bits:
                self._put(series, 0, entries)
                continue
            buckets = (row >> np.uint32(32 - self._bits)).astype(np.uint16)
            order = np.argsort(buckets, kind="stable")
            borders = np.searchsorted(buckets[order], np.arange((1 << self._bits) + 1))
            entries = entries[order]
            for bucket, (start, end) in enumerate(itertools.pairwise(borders.tolist())):
                if start < end:
                    self._put(series, bucket, entries[start:end])
        if self._bytes > BUFFER_BYTES:
            self._flush()

    def __iter__(self) -> Iterator[tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]]:
        """The keys (n,) and numbers (n,) of every bucket, in the order they were added; its file is removed."""
        self._flush()
        for series in range(self._series):
            for bucket in range(1 << self._bits):
                path = self._path(series, bucket)
                entries = np.fromfile(path, np.uint64) if path.exists() else np.zeros(0, np.uint64)
                path.unlink(missing_ok=True)
                yield (entries >> np.uint64(32)).astype(np.uint32), entries.astype(np.uint32)

    def __len__(self) -> int:
        return self._series << self._bits

    def _path(self, series: int, bucket: int) -> Path:
        return self._directory / f"band-{series}-{bucket}"

    def _put(self, series: int, bucket: int, entries: npt.NDArray[np.uint64]) -> None:
        self._waiting.setdefault(self._path(series, bucket), []).append(entries)
        self._bytes += entries.nbytes

    def _flush(self) -> None:
        """Append what waits. Files are opened for it only: there may be more of them than a process may hold open."""
        for path, entries in self._waiting.items():
            with atomic.naming(path), path.open("ab") as file:
                file.writelines(entry.data for entry in entries)
                failpoint("dedup.mid_write", path)
        self._waiting.clear()
        self._bytes = 0
