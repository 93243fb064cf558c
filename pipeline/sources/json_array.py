"""JSON files: one array of objects, cut into its elements as it streams by; or, under the same suffix, JSON Lines."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.sources import files
from pipeline.sources.array_splitter import ArraySplitter, Element
from pipeline.sources.base import Batch, Identity, InputFile, Limits, Piece, Reading, Task
from pipeline.sources.blocks import ByteReader
from pipeline.sources.jsonl import JsonLinesSource
from pipeline.sources.line_splitter import LineSplitter
from pipeline.sources.lines import cut
from pipeline.sources.records import Collector, Extractor, Unreadable, extract_json

_SPACE = b" \t\r\n"
_MARK = b"\xef\xbb\xbf"


class JsonSource:
    """An array is one piece: where a string begins depends on all that stands before it."""

    pieces = "bytes"

    def plan(self, file: InputFile, identity: Identity, limits: Limits) -> list[Piece]:
        """See `Source.plan`."""
        long = not file.options.compression and identity.size > limits.block_bytes
        return cut(file, identity, limits, splittable=long and _is_array(_head(file.path, identity)) is False)

    def open(self, task: Task, limits: Limits) -> Reading:
        """See `Source.open`."""
        if task.start == 0 and (task.options.compression or task.end == task.identity.size):
            return _JsonReading(task, limits)
        return JsonLinesSource().open(task, limits)


def _head(path: str, identity: Identity) -> bytes:
    with files.opened(path, identity) as file:
        return file.read(1 << 16) or b""


def _is_array(data: bytes) -> bool | None:
    """Whether an array begins here; None when there is nothing but white space."""
    data = data.removeprefix(_MARK).lstrip(_SPACE)
    return data.startswith(b"[") if data else None


class _JsonReading(ByteReader):
    """A whole file: its first character tells whether it holds an array or lines."""

    def __iter__(self) -> Iterator[Batch]:
        chunks = self.chunks()
        head = b""
        for chunk in chunks:
            head += chunk
            if _is_array(head) is not None or len(head) > self.limit:
                break
        array = _is_array(head)
        yield from self._array(head, chunks) if array else self._lines(head, chunks)

    def _lines(self, head: bytes, chunks: Iterator[bytes]) -> Iterator[Batch]:
        source, extractor, options = JsonLinesSource(), Extractor(self.task.options), self.task.options
        splitter = LineSplitter(0, self.limit, skip_first=False)
        yield source.batch(splitter.feed(head), options, extractor)
        for chunk in chunks:
            yield source.batch(splitter.feed(chunk), options, extractor)
        if not self._stopped:
            yield source.batch(splitter.finish(), options, extractor)

    def _array(self, head: bytes, chunks: Iterator[bytes]) -> Iterator[Batch]:
        extractor, splitter = Extractor(self.task.options), ArraySplitter(self.limit)
        yield self._batch(splitter.feed(head), extractor)
        for chunk in chunks:
            yield self._batch(splitter.feed(chunk), extractor)
        if not self._stopped:
            yield self._batch(splitter.finish(), extractor)
            if not splitter.closed:
                self.damage = self.damage or "the array is not closed"

    @staticmethod
    def _batch(elements: list[Element], extractor: Extractor) -> Batch:
        collector = Collector()
        for (offset, line, data, size), fault in elements:
            try:
                if fault:
                    raise fault
                collector.add(extract_json(data, size, "element", extractor), offset, line)
            except Unreadable as reason:
                collector.refuse(reason, offset, line, size, data)
        return collector.take()
