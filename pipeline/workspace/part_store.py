"""Where parts lie: a directory, or a URL with a local directory in which they are made and read."""

from __future__ import annotations

import shutil
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from foundation import atomic
from foundation.errors import UserError
from foundation.failpoints import failpoint
from pipeline.workspace.parts import SUMMARY, Part, PartWriter, checksum_of
from pipeline.workspace.storage import Storage

LOCAL_BYTES = 2 * 2**30
"""Bytes of fetched parts that are kept on the local disk. Publishing reads parts in order, a few arrays at a time."""


@dataclass(frozen=True)
class PartStore:
    """The parts of one work area. Sent to the workers, so it holds no connection."""

    directory: Path
    staging: Path
    """Where parts are made, on the same file system; each process tree that maps has its own."""
    url: str | None = None

    def writer(self, key: str, dtype: np.dtype[np.generic]) -> PartWriter:
        """A writer of the part `key`."""
        return PartWriter(self.staging, self.directory / key, dtype)

    def part(self, key: str) -> Part:
        """A part that was made here, whether or not it is there."""
        return Part(self.directory / key)

    def share(self, key: str) -> None:
        """Put a new part where all machines find it, its counters last, and free the local disk."""
        if self.url is None:
            return
        storage, local = Storage(self.url), self.directory / key
        names = sorted(path.name for path in local.iterdir() if path.name != SUMMARY)
        for name in [*names, SUMMARY]:
            storage.put(local / name, f"{key}/{name}")
            failpoint("share.mid_part", local)
        shutil.rmtree(local)


@dataclass
class PartCache:
    """Fetches files of remote parts when they are read, and keeps the latest ones within `limit` bytes.

    A file that is dropped while it is mapped stays readable until it is closed (POSIX).
    """

    storage: Storage
    directory: Path
    limit: int = LOCAL_BYTES
    _kept: OrderedDict[Path, int] = field(default_factory=OrderedDict)
    _bytes: int = 0

    def clear(self) -> None:
        """Remove all that was fetched."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self._kept.clear()
        self._bytes = 0

    def fetch(self, key: str, name: str, expected: tuple[int, int] | None) -> Path:
        """The local copy of a part's file; `expected` are its bytes and CRC-32."""
        path = self.directory / key / name
        if path in self._kept:
            self._kept.move_to_end(path)
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic.naming(path):
            self.storage.fetch(f"{key}/{name}", path)
        size = path.stat().st_size
        if expected is not None and checksum_of(path) != expected:
            path.unlink()
            self.storage.remove(f"{key}/{SUMMARY}")  # it counts no longer, so the next run makes it again
            raise UserError(
                f"{self.storage.url}/{key}/{name}: damaged since it was put there."
                " Run the same command with --resume to make this part again"
            )
        self._kept[path] = size
        self._bytes += size
        while self._bytes > self.limit and len(self._kept) > 1:
            oldest, size = self._kept.popitem(last=False)
            oldest.unlink(missing_ok=True)
            self._bytes -= size
        return path


@dataclass(frozen=True)
class RemotePart(Part):
    """A part whose files are fetched when they are read."""

    cache: PartCache

    def file(self, name: str) -> Path | None:
        """See `Part.file`."""
        key = self.directory.name
        if name == SUMMARY:
            return self.cache.fetch(key, name, None)
        entry = self.summary().files.get(name)
        return None if entry is None else self.cache.fetch(key, name, (entry[0], entry[1]))
