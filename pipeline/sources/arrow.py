"""Arrow streams as Hugging Face `save_to_disk` writes them (Arrow IPC streaming format): record batches are the pieces.

A stream has no table of contents, so that of a local file is made by walking over the messages' headers; a remote
stream is one piece.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from pipeline.sources import files
from pipeline.sources.base import Identity, InputFile, Limits, Piece, Reading, Task
from pipeline.sources.columns import ColumnReading

_SCHEMA, _DICTIONARY, _RECORD_BATCH = 1, 2, 3


class _Message(NamedTuple):
    """Where a message of a stream lies, its kind, and its rows if it is a record batch."""

    start: int
    end: int
    kind: int
    rows: int


class ArrowSource:
    """Record batches side by side make one piece until they reach `block_bytes`."""

    pieces = "record batches"

    def plan(self, file: InputFile, identity: Identity, limits: Limits) -> list[Piece]:
        """See `Source.plan`."""
        batches = _batches(file.path, identity)
        if batches is None:
            return [Piece(0, 0, identity.size)] if identity.size else []
        pieces: list[Piece] = []
        first = size = rows = 0
        for number, batch in enumerate(batches):
            rows, size = rows + batch.rows, size + batch.end - batch.start
            if size >= limits.block_bytes or number == len(batches) - 1:
                pieces.append(Piece(first, number + 1, size, rows))
                first, size, rows = number + 1, 0, 0
        return pieces

    def open(self, task: Task, limits: Limits) -> Reading:
        """See `Source.open`."""
        return _ArrowReading(task, limits)


@lru_cache(maxsize=4096)
def _batches(path: str, identity: Identity) -> list[_Message] | None:
    """The record batches of a local stream; None when it has to be read from front to back (remote, with dictionaries,
    damaged)."""
    if files.is_url(path):
        return None
    with files.opened(path, identity) as raw:
        try:
            messages = list(_messages(raw, identity.size))
        except (struct.error, IndexError):
            return None
    if not messages or messages[0].kind != _SCHEMA or any(m.kind != _RECORD_BATCH for m in messages[1:]):
        return None
    return messages[1:]


def _messages(raw: Any, size: int) -> Iterator[_Message]:
    """Walk over the messages' headers (Arrow format, "Encapsulated message format"; the header is a flatbuffer)."""
    position = 0
    while position < size:
        raw.seek(position)
        mark, length = struct.unpack("<Ii", raw.read(8))
        if mark != 0xFFFFFFFF:
            raise struct.error("an old or foreign format")
        if length == 0:
            return
        header = raw.read(length)
        table = _Table(header, struct.unpack_from("<I", header)[0])
        kind, body = table.number(1, "<B"), table.number(3, "<q")
        rows = table.table(2).number(0, "<q") if kind == _RECORD_BATCH else 0
        end = position + 8 + length + body
        if end > size or end <= position:
            raise struct.error("the stream is cut off")
        yield _Message(position, end, kind, rows)
        position = end


class _Table(NamedTuple):
    """A table of a flatbuffer."""

    data: bytes
    place: int

    def _field(self, number: int) -> int | None:
        vtable = self.place - struct.unpack_from("<i", self.data, self.place)[0]
        if 4 + 2 * number >= struct.unpack_from("<H", self.data, vtable)[0]:
            return None
        offset: int = struct.unpack_from("<H", self.data, vtable + 4 + 2 * number)[0]
        return self.place + offset if offset else None

    def number(self, number: int, form: str) -> int:
        """A scalar field, 0 by default."""
        place = self._field(number)
        return 0 if place is None else int(struct.unpack_from(form, self.data, place)[0])

    def table(self, number: int) -> _Table:
        """A field that is a table."""
        place = self._field(number)
        if place is None:
            raise struct.error("a field is missing")
        return _Table(self.data, place + struct.unpack_from("<I", self.data, place)[0])


class _ArrowReading(ColumnReading):
    """A `Reading` of record batches."""

    sequential = True

    def rows(self) -> int | None:
        """See `ColumnReading.rows`."""
        batches = _batches(self.task.path, self.task.identity)
        return None if batches is None else sum(b.rows for b in batches[self.task.start : self.task.end])

    def record_batches(self, raw: Any) -> Iterator[tuple[int, Any]]:
        """See `ColumnReading.record_batches`."""
        import pyarrow as pa

        batches = _batches(self.task.path, self.task.identity)
        if batches is None:
            stream = pa.ipc.open_stream(pa.PythonFile(raw, "r"))
            self.names = stream.schema.names
            yield from self._needed(0, stream)
            return
        with pa.ipc.open_stream(pa.PythonFile(raw, "r")) as stream:
            schema = stream.schema
        self.names = schema.names
        first = sum(batch.rows for batch in batches[: self.task.start])

        def chosen() -> Iterator[Any]:
            for batch in batches[self.task.start : self.task.end]:
                raw.seek(batch.start)
                message = pa.ipc.read_message(pa.py_buffer(raw.read(batch.end - batch.start)))
                yield pa.ipc.read_record_batch(message, schema)

        yield from self._needed(first, chosen())

    def _needed(self, first: int, batches: Any) -> Iterator[tuple[int, Any]]:
        """The needed columns."""
        columns = [name for name in self.names if name in self.extractor.fields]
        for batch in batches:
            yield first, batch.select(columns)
            first += batch.num_rows
