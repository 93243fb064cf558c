"""Where a dataset is published: a local directory, or a URL to which the finished local one is put.

At a URL the order is the same as on a disk: content-named shards first, the tokenizer, the manifest, then what stands
beside it, then what is left of an earlier version is removed. An interrupted upload goes on where it was: files of
content-hashed names that are there in full are not sent again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from foundation import atomic
from foundation.failpoints import failpoint
from pipeline.publishing.layout import BESIDE, STATS, SUMS, is_ours
from pipeline.workspace.storage import Storage
from shards.manifest import FILE_NAME, SPLITS, TOKENIZER_DIRECTORY, Manifest
from tokenization.files import CARRIED_FILES


class LocalTarget:
    """A directory of this machine or of a shared file system."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        """Where the dataset is built."""

    def manifest(self) -> Manifest | None:
        """The published dataset's manifest, or None."""
        return Manifest.load(self.directory) if (self.directory / FILE_NAME).exists() else None

    def holds_files(self) -> bool:
        """Whether anything is there."""
        return self.directory.exists() and any(self.directory.iterdir())

    def in_the_way(self) -> list[str]:
        """The files there that a dataset would replace."""
        return sorted(name for name in BESIDE if (self.directory / name).exists())

    def tokenizer_files(self) -> dict[str, bytes]:
        """The published tokenizer, by file name."""
        paths = (self.directory / TOKENIZER_DIRECTORY / name for name in CARRIED_FILES)
        return {path.name: path.read_bytes() for path in paths if path.is_file()}

    def fetch_statistics(self) -> None:
        """Have stats.json in `directory`, for people."""

    def bytes_to_send(self, manifest: Manifest) -> int:
        """Bytes that `send` will put."""
        return 0

    def send(self, manifest: Manifest, progress: Callable[[int], object]) -> None:
        """Bring the dataset built in `directory` to its place; it is there already."""


class RemoteTarget:
    """A URL; `directory` is where the dataset is built before it is sent."""

    def __init__(self, url: str, directory: Path) -> None:
        self.directory = directory
        self._storage = Storage(url)

    def manifest(self) -> Manifest | None:
        """See `LocalTarget.manifest`."""
        data = self._storage.read(FILE_NAME)
        return None if data is None else Manifest.decode(data, f"{self._storage.url}/{FILE_NAME}")

    def holds_files(self) -> bool:
        """See `LocalTarget.holds_files`."""
        return bool(self._storage.sizes())

    def in_the_way(self) -> list[str]:
        """See `LocalTarget.in_the_way`."""
        return sorted(BESIDE & self._storage.sizes().keys())

    def tokenizer_files(self) -> dict[str, bytes]:
        """See `LocalTarget.tokenizer_files`."""
        there = self._storage.sizes(TOKENIZER_DIRECTORY)
        names = [name for carried in sorted(CARRIED_FILES) if (name := f"{TOKENIZER_DIRECTORY}/{carried}") in there]
        contents = self._storage.read_all(names)
        return {name.removeprefix(f"{TOKENIZER_DIRECTORY}/"): data for name, data in zip(names, contents, strict=True)}

    def fetch_statistics(self) -> None:
        """See `LocalTarget.fetch_statistics`."""
        data = self._storage.read(STATS)
        if data is not None:
            atomic.write_bytes(self.directory / STATS, data)

    def bytes_to_send(self, manifest: Manifest) -> int:
        """See `LocalTarget.bytes_to_send`."""
        return sum(size for _, size in self._shards_to_send(manifest, self._storage.sizes()))

    def send(self, manifest: Manifest, progress: Callable[[int], object]) -> None:
        """See `LocalTarget.send`; `progress` is told the bytes put. The shards are removed here once they are there:
        their parts can give them again."""
        there = self._storage.sizes()
        for name, size in self._shards_to_send(manifest, there):
            self._storage.put(self.directory / name, name)
            progress(size)
            failpoint("upload.mid_shards", self.directory)
        failpoint("upload.before_tokenizer", self.directory)
        files = LocalTarget(self.directory).tokenizer_files()
        if self.tokenizer_files() != files:
            self._storage.remove(FILE_NAME)  # no mixture of one dataset's shards and another's tokenizer
            for name, data in files.items():
                self._storage.write(f"{TOKENIZER_DIRECTORY}/{name}", data)
        failpoint("upload.before_manifest", self.directory)
        if self._storage.read(FILE_NAME) != manifest.encode():
            self._storage.write(FILE_NAME, manifest.encode())
        failpoint("upload.after_manifest", self.directory)
        local = self._local_files()
        for name in sorted(local, key=lambda name: (Path(name).name == SUMS, name)):  # sums after what they are of
            if name != FILE_NAME and name.partition("/")[0] not in (*SPLITS, TOKENIZER_DIRECTORY):
                self._storage.put(self.directory / name, name)
        failpoint("upload.before_removal", self.directory)
        for name in there:
            if name not in local and is_ours(name):
                self._storage.remove(name)
        for split in SPLITS:
            shutil.rmtree(self.directory / split, ignore_errors=True)

    def _shards_to_send(self, manifest: Manifest, there: dict[str, int]) -> list[tuple[str, int]]:
        """Files of shards that are not there in full, and their bytes. Names hold a hash of the content, so equal
        names and sizes are equal files."""
        files = [
            (f"{split}/{shard.name}{suffix}", entry.bytes)
            for split, splits in manifest.splits.items()
            for shard in splits.shards
            for suffix, entry in shard.files.items()
        ]
        return [(name, size) for name, size in files if there.get(name) != size]

    def _local_files(self) -> set[str]:
        paths = (path for path in self.directory.rglob("*") if path.is_file())
        return {path.relative_to(self.directory).as_posix() for path in paths}


Target = LocalTarget | RemoteTarget
