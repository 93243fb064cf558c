"""Read a task's bytes as lines, in bounded memory: a block of a plain file, or a whole gzip file.

A plain file is cut into blocks of fixed size; a line belongs to the block it starts in. Every byte of the block is
hashed on the way, so that the content's fingerprint costs no second read.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from foundation import atomic
from pipeline.sources.base import KEPT_OF_OVERSIZE, InputChanged, Limits, Task

CHUNK = 1 << 20


class Line(NamedTuple):
    """One line without its line end. `size` exceeds len(data) where it was longer than the limit and was cut."""

    offset: int
    number: int
    data: bytes
    size: int


class LineReader:
    """`groups` iterates batches of lines of a task's bytes; after the iteration the attributes say what was read.

    `InputChanged` is raised when the file's size or time differs from the plan's before or after.
    """

    def __init__(self, task: Task, limits: Limits) -> None:
        self.path, self.start, self.end = Path(task.path), task.start, task.end
        self.limit = limits.max_record_bytes
        self._expected = (task.identity.size, task.identity.stamp)
        self._block = limits.block_bytes
        self.digests: list[str] = []
        self.newlines = 0
        self.position = 0  # input bytes read so far, compressed ones for an archive
        self.damage: str | None = None
        self._stopped = False

    def stop(self) -> None:
        """Enough was read: give no more lines, only finish the fingerprint."""
        self._stopped = True

    def groups(self) -> Iterator[list[Line]]:
        """The lines, as they end within chunks of the file."""
        with atomic.naming(self.path), self.path.open("rb", buffering=0) as file:
            self._check(file.fileno())
            yield from self._gzip_lines(file) if self.path.suffix == ".gz" else self._plain_lines(file)
            self._check(file.fileno())

    def _check(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        if (status.st_size, str(status.st_mtime_ns)) != self._expected:
            raise InputChanged(str(self.path))

    def _plain_lines(self, file: io.FileIO) -> Iterator[list[Line]]:
        previous = os.pread(file.fileno(), 1, self.start - 1) if self.start else b"\n"
        splitter = _Splitter(self.start, self.limit, skip_first=previous != b"\n")
        file.seek(self.start)
        for block_start in range(self.start, self.end, self._block):
            digest = hashlib.sha256()
            position, block_end = block_start, min(block_start + self._block, self.end)
            while position < block_end:
                chunk = file.read(min(CHUNK, block_end - position))
                if not chunk:
                    raise InputChanged(str(self.path))
                digest.update(chunk)
                self.newlines += chunk.count(b"\n")
                position += len(chunk)
                self.position += len(chunk)
                if not self._stopped:
                    yield splitter.feed(chunk)
            self.digests.append(digest.hexdigest())
        while not self._stopped and splitter.open and (chunk := file.read(CHUNK)):
            yield splitter.feed(chunk[: chunk.find(b"\n") + 1] or chunk)
        if not self._stopped:
            yield splitter.finish()

    def _gzip_lines(self, file: io.FileIO) -> Iterator[list[Line]]:
        hashing = _HashingReader(file, self._block)
        splitter = _Splitter(0, self.limit, skip_first=False)
        try:
            with gzip.GzipFile(fileobj=hashing, mode="rb") as archive:
                while not self._stopped and (chunk := archive.read1(CHUNK)):
                    self.newlines += chunk.count(b"\n")
                    self.position = hashing.position
                    yield splitter.feed(chunk)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            self.damage = str(error)
        if not self._stopped:
            yield splitter.finish()
        while hashing.read(CHUNK):  # what lies behind the damage is still part of the file's content
            continue
        self.digests = hashing.finish()


class _HashingReader(io.RawIOBase):
    """Hands a file's bytes on and hashes them in blocks."""

    def __init__(self, file: BinaryIO | io.FileIO, block: int) -> None:
        self._file, self._block = file, block
        self.position = 0
        self._digest, self._filled = hashlib.sha256(), 0
        self._digests: list[str] = []

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        data = self._file.read(CHUNK if size is None or size < 0 else size) or b""
        self.position += len(data)
        view = memoryview(data)
        while len(view):
            part = view[: self._block - self._filled]
            self._digest.update(part)
            self._filled += len(part)
            view = view[len(part) :]
            if self._filled == self._block:
                self._close_block()
        return data

    def _close_block(self) -> None:
        self._digests.append(self._digest.hexdigest())
        self._digest, self._filled = hashlib.sha256(), 0

    def finish(self) -> list[str]:
        if self._filled:
            self._close_block()
        return self._digests


class _Splitter:
    """Cuts a stream of chunks into lines; a line beyond `limit` bytes is counted but not kept."""

    def __init__(self, offset: int, limit: int, skip_first: bool) -> None:
        self._offset = offset  # of the pending line
        self._number = 0
        self._limit = limit
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._skipping = skip_first

    @property
    def open(self) -> bool:
        """Whether a line has begun whose end was not seen."""
        return self._pending_size > 0 and not self._skipping

    def feed(self, chunk: bytes) -> list[Line]:
        """The lines that end within `chunk`."""
        if b"\n" not in chunk:
            self._keep(chunk)
            return []
        parts = chunk.split(b"\n")
        self._keep(parts[0])
        lines: list[Line] = []
        self._end_line(lines, newline=1)
        offset, number = self._offset, self._number
        for data in parts[1:-1]:
            size = len(data)
            lines.append(Line(offset, number, data if size <= self._limit else data[:KEPT_OF_OVERSIZE], size))
            offset += size + 1
            number += 1
        self._offset, self._number = offset, number
        self._keep(parts[-1])
        return lines

    def finish(self) -> list[Line]:
        """The last line, when the stream did not end in a newline."""
        lines: list[Line] = []
        if self.open:
            self._end_line(lines, newline=0)
        return lines

    def _keep(self, data: bytes) -> None:
        self._pending_size += len(data)
        if self._skipping:
            return
        if self._pending_size <= self._limit:
            self._pending.append(data)
        elif self._pending:
            kept = b"".join([*self._pending, data[:KEPT_OF_OVERSIZE]])[:KEPT_OF_OVERSIZE]
            self._pending = [kept]
        else:
            self._pending = [data[:KEPT_OF_OVERSIZE]]

    def _end_line(self, lines: list[Line], newline: int) -> None:
        if not self._skipping:
            lines.append(Line(self._offset, self._number, b"".join(self._pending), self._pending_size))
        self._offset += self._pending_size + newline
        self._number += newline
        self._pending, self._pending_size, self._skipping = [], 0, False
