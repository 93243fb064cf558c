"""Directories of many text files, each a document; of class directories (aclImdb: train/pos/*.txt) with their label."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from pipeline.sources import files
from pipeline.sources.base import (
    KEPT_OF_OVERSIZE,
    Batch,
    Identity,
    InputChanged,
    InputFile,
    Limits,
    Piece,
    Reading,
    Task,
)
from pipeline.sources.text import add_text

FILES_PER_PIECE = 20_000
_BATCH_BYTES = 1 << 20


class _File(NamedTuple):
    name: str
    size: int


class ClassFilesSource:
    """Files in sorted order; runs of them make a piece of about `block_bytes`."""

    pieces = "files"

    def plan(self, file: InputFile, identity: Identity, limits: Limits) -> list[Piece]:
        """See `Source.plan`."""
        found = _listing(file.path, identity)
        pieces: list[Piece] = []
        first = size = 0
        for number, entry in enumerate(found):
            size += entry.size
            count = number + 1 - first
            if size >= limits.block_bytes or count == FILES_PER_PIECE or number == len(found) - 1:
                pieces.append(Piece(first, number + 1, size))
                first, size = number + 1, 0
        return pieces

    def open(self, task: Task, limits: Limits) -> Reading:
        """See `Source.open`."""
        return _FilesReading(task, limits)


@lru_cache(maxsize=256)
def _listing(path: str, identity: Identity) -> list[_File]:
    """The text files of a directory, sorted by name. `InputChanged` when the directory is not the one planned."""
    listing = files.directory_listing(path)
    if files.listing_stamp(listing) != identity.stamp:
        raise InputChanged(path)
    return [_File(name, size) for name, size, _ in listing if files.is_document(name)]


class _FilesReading:
    """A `Reading` of files. A document's offset is its file's number in the directory; a file without text is none."""

    def __init__(self, task: Task, limits: Limits) -> None:
        self.task = task
        self.limit = limits.max_record_bytes
        self.position = self.newlines = 0
        self.digests: list[str] = []
        self.damage: str | None = None
        self._stopped = False

    def stop(self) -> None:
        """Enough was read: give no more, only finish the fingerprint."""
        self._stopped = True

    def __iter__(self) -> Iterator[Batch]:
        task, digest = self.task, hashlib.sha256()
        batch, size = Batch(), 0
        found = _listing(task.path, task.identity)
        for number in range(task.start, task.end):
            entry = found[number]
            text = self._content(entry)
            digest.update(os.fsencode(entry.name) + f"\0{entry.size}\0".encode() + text)
            self.position += entry.size
            if not self._stopped and (entry.size > len(text) or text.strip()):
                add_text(batch, text, entry.size, number, self.newlines, task.options.label)
            self.newlines += 1
            size += len(text)
            if size >= _BATCH_BYTES and not self._stopped:
                yield batch
                batch, size = Batch(), 0
        if not self._stopped:
            yield batch
        self.digests = [digest.hexdigest()]
        if files.listing_stamp(files.directory_listing(task.path)) != task.identity.stamp:
            raise InputChanged(task.path)

    def _content(self, entry: _File) -> bytes:
        try:
            with open(os.path.join(self.task.path, entry.name), "rb", buffering=0) as file:
                return file.read(entry.size if entry.size <= self.limit else min(KEPT_OF_OVERSIZE, self.limit)) or b""
        except FileNotFoundError:
            raise InputChanged(self.task.path) from None
