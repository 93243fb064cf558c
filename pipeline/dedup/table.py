"""Signatures of all documents in one file, read by row."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import numpy.typing as npt

from foundation import atomic


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

    def forget(self) -> None:
        """Give back the memory of the pages that were read; they stay in the system's cache."""
        if self._map is not None and hasattr(self._map, "madvise"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        """Close the file."""
        if self._map is not None:
            self._map.close()
        self._file.close()
