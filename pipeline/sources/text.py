"""Plain text: a document is a paragraph (blank lines between), a line, or the whole file."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.settings.inputs import Unit
from pipeline.sources.base import KEPT_OF_OVERSIZE, BadRecord, Batch, InputOptions, Limits, common_fault
from pipeline.sources.blocks import Line, LineReader
from pipeline.sources.lines import LineSource
from shards.documents import NO_LABEL


class TextSource(LineSource):
    """Blank lines alone are no documents. Line ends are kept as they are; cleaning unifies them."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.splittable = unit == "line"

    def batches(self, lines: LineReader, options: InputOptions, limits: Limits) -> Iterator[Batch]:
        """See `LineSource.batches`."""
        gathered = _Gathered(limits.max_record_bytes)
        for group in lines.groups():
            batch = Batch()
            for line in group:
                blank = line.size == len(line.data) and not line.data.strip()
                if (self.unit == "paragraph" and blank) or (self.unit == "line"):
                    gathered.flush(batch)
                if not blank or (self.unit == "file" and gathered.lines):
                    gathered.add(line)
            yield batch
        batch = Batch()
        gathered.flush(batch)
        yield batch


class _Gathered:
    """The lines of the document being read, bounded in bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.lines: list[Line] = []
        self.size = 0

    def add(self, line: Line) -> None:
        self.size += line.size + (1 if self.lines else 0)
        if self.size <= self.limit or not self.lines:
            self.lines.append(line)

    def flush(self, batch: Batch) -> None:
        if not self.lines:
            return
        data = b"\n".join(line.data for line in self.lines)
        first, size = self.lines[0], self.size
        self.lines, self.size = [], 0
        reason, detail = _reason(data, size)
        if reason:
            kept = data if size == len(data) else data[:KEPT_OF_OVERSIZE]
            batch.bad.append(BadRecord(first.offset, first.number, size, reason, detail, kept))
        else:
            batch.add(data, first.offset, first.number, NO_LABEL)


def _reason(data: bytes, size: int) -> tuple[str, str]:
    if fault := common_fault(data, size, "text"):
        return fault
    if b"\0" in data:
        return "nul_byte", "the text holds NUL bytes; is the file UTF-16 or binary?"
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return "invalid_utf8", str(error)
    return "", ""
