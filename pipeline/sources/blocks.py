"""Read a task's bytes, and these as lines, in bounded memory: a block of a plain file, or a whole archive.

A plain file is cut into blocks of fixed size; a line belongs to the block it starts in. Every byte of the block is
hashed on the way, so that the content's fingerprint costs no second read.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator

from foundation import fingerprint
from pipeline.sources import files
from pipeline.sources.base import InputChanged, Limits, Task
from pipeline.sources.compression import CHUNK, Damaged, decompressed
from pipeline.sources.hashing import HashingReader
from pipeline.sources.line_splitter import Line, LineRun, LineSplitter, line_feeds

_OVERRUN = 1 << 16


class ByteReader:
    """The bytes of a task, in chunks; after the iteration the attributes say what was read.

    `InputChanged` is raised when the input is not the one that was planned, before or after.
    """

    def __init__(self, task: Task, limits: Limits) -> None:
        self.task, self.path, self.start, self.end = task, task.path, task.start, task.end
        self.limit = limits.max_record_bytes
        self._block = limits.block_bytes
        self.digests: list[str] = []
        self.newlines = 0
        self.position = 0  # input bytes read so far, compressed ones for an archive
        self.damage: str | None = None
        self.before = b"\n"  # what stands before `start`: as much as `look_behind` asks for
        self.beyond = False  # whether the chunks are those behind `end` by now
        self._stopped = self._finished = False

    def stop(self) -> None:
        """Enough was read: give no more, only finish the fingerprint."""
        self._stopped = True

    def finish(self) -> None:
        """Nothing behind `end` is wanted (any more)."""
        self._finished = True

    def look_behind(self, file: io.RawIOBase) -> bytes:
        """What stands before `start` (which is not 0): the last byte."""
        file.seek(self.start - 1)
        return file.read(1) or b""

    def chunks(self) -> Iterator[bytes]:
        """The piece, decompressed. Of a plain file, `beyond` is set after it and an empty chunk given; then, unless
        `finish` was called, what follows the piece, so that a record that began in it can be read to its end."""
        with files.opened(self.path, self.task.identity) as file:
            if self.task.options.compression:
                yield from self._archive(file)
            else:
                yield from self._plain(file)

    def _plain(self, file: io.RawIOBase) -> Iterator[bytes]:
        if self.start:
            self.before = self.look_behind(file)
        file.seek(self.start)
        for block_start in range(self.start, self.end, self._block):
            digest = hashlib.sha256()
            position, block_end = block_start, min(block_start + self._block, self.end)
            while position < block_end:
                if self._stopped and files.is_url(self.path):
                    self.digests = self._version()
                    return
                chunk = file.read(min(CHUNK, block_end - position))
                if not chunk:
                    raise InputChanged(self.path)
                digest.update(chunk)
                self.newlines += line_feeds(chunk)
                position += len(chunk)
                self.position += len(chunk)
                if not self._stopped:
                    yield chunk
            self.digests.append(digest.hexdigest())
        self.beyond = True
        if not self._stopped:
            yield b""
        while not (self._stopped or self._finished) and (chunk := file.read(_OVERRUN)):
            yield chunk

    def _archive(self, file: io.RawIOBase) -> Iterator[bytes]:
        hashing = HashingReader(file, self._block)
        try:
            for chunk in decompressed(hashing, self.task.options.compression):
                self.newlines += line_feeds(chunk)
                self.position = hashing.position
                yield chunk
                if self._stopped:
                    break
        except Damaged as error:
            self.damage = str(error)
        if self._stopped and files.is_url(self.path):
            self.digests = self._version()
            return
        while hashing.read(CHUNK):  # what lies behind the damage is still part of the file's content
            continue
        self.digests = hashing.finish()

    def _version(self) -> list[str]:
        """What stands for the digests of a remote file that is not read to its end."""
        return [fingerprint.of_json(list(self.task.identity))]


class LineReader(ByteReader):
    """The lines of a task: `runs` iterates batches of them, `groups` the same line by line."""

    def groups(self) -> Iterator[list[Line]]:
        """See `runs`."""
        for run in self.runs():
            yield run.each()

    def runs(self) -> Iterator[LineRun]:
        """The lines that start in the piece, as they end within chunks of the file."""
        splitter: LineSplitter | None = None
        for chunk in self.chunks():
            if splitter is None:
                splitter = LineSplitter(self.start, self.limit, skip_first=not self.before.endswith(b"\n"))
            if self.beyond:
                chunk = chunk[: chunk.find(b"\n") + 1] or chunk
            yield splitter.run(chunk)
            if self.beyond and not splitter.open:
                self.finish()
        if splitter is not None and not self._stopped:
            yield splitter.end()
