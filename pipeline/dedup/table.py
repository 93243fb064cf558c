"""Signatures of all documents in one file, read by row."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from foundation import atomic

BLOCK_BYTES = 32 * 2**20
"""A run of pairs stays in two such blocks of the file if it has more than FEW pairs: the system maps 64 KiB around each
row that is read, so rows read at random would soon bring the whole file into memory."""
FEW, MANY = 1 << 9, 1 << 15
"""Pairs in a run."""


class SignatureTable:
    """Rows of `width` bytes: appended first, then read at random through a memory map."""

    def __init__(self, path: Path, width: int) -> None:
        self._path, self._width = path, width
        self._file = path.open("w+b")
        self._map: mmap.mmap | None = None
        self.count = 0

    def append(self, rows: npt.NDArray[np.uint8]) -> None:
        """Add rows (n, width)."""
        with atomic.naming(self._path):
            self._file.write(np.ascontiguousarray(rows).data)
        self.count += len(rows)

    def rows(self, numbers: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
        """Copies of the rows `numbers` (n,), shape (n, width)."""
        if self._map is None:
            with atomic.naming(self._path):
                self._file.flush()
            self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        view = np.frombuffer(self._map, np.uint8).reshape(-1, self._width)
        return view[numbers]

    def runs(self, first: npt.NDArray[np.uint32], second: npt.NDArray[np.uint32]) -> Iterator[npt.NDArray[np.int64]]:
        """Places of the pairs of rows (first[i], second[i]), in runs that read a bounded part of the file each."""
        per_block = max(1, BLOCK_BYTES // self._width)
        blocks = (first // per_block).astype(np.int64) * (self.count // per_block + 1) + second // per_block
        order = np.argsort(blocks, kind="stable")
        borders = np.append(np.flatnonzero(np.diff(blocks[order])) + 1, len(order))
        start = 0
        while start < len(order):
            border = int(borders[min(int(np.searchsorted(borders, start + FEW)), len(borders) - 1)])
            yield order[start : min(border, start + MANY)]
            start = min(border, start + MANY)

    def forget(self) -> None:
        """Give back the memory of the pages that were read; they stay in the system's cache."""
        if self._map is not None and hasattr(self._map, "madvise"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        """Close the file."""
        if self._map is not None:
            self._map.close()
        self._file.close()
