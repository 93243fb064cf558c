"""Plain text: a document is a line, the whole file, or what stands between blank lines or separators (delimited.py)."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.sources.base import (
    KEPT_OF_OVERSIZE,
    BadRecord,
    Batch,
    Identity,
    InputFile,
    InputOptions,
    Limits,
    Piece,
    Reading,
    Source,
    Task,
    common_fault,
)
from pipeline.sources.blocks import LineReader
from pipeline.sources.delimited import ParagraphReading, SeparatorReading, overlaps_itself
from pipeline.sources.line_splitter import Line
from pipeline.sources.lines import LineSource, cut


def text_source(options: InputOptions) -> Source:
    """The source for the unit that the options name."""
    if options.text_separator is None and options.text_documents == "line":
        return TextLineSource()
    if options.text_separator is None and options.text_documents == "file":
        return TextFileSource()
    return DelimitedSource()


def add_text(batch: Batch, text: bytes, size: int, offset: int, line: int, label: int) -> None:
    """Append a text of `size` bytes (of which `text` may hold only the first) to a batch, or what is wrong with it."""
    fault = _fault(text, size)
    if fault is None:
        batch.add(text, offset, line, label)
    else:
        kept = text if size == len(text) else text[:KEPT_OF_OVERSIZE]
        batch.bad.append(BadRecord(offset, line, size, *fault, kept))


def _fault(text: bytes, size: int) -> tuple[str, str] | None:
    if fault := common_fault(text, size, "text"):
        return fault
    if b"\0" in text:
        return "nul_byte", "the text holds NUL bytes; is the file UTF-16 or binary?"
    if text.isascii():
        return None
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return "invalid_utf8", str(error)
    return None


class TextLineSource(LineSource):
    """A line is a document. Blank lines are none. Line ends are cut off, but for a CR."""

    splittable = True

    def batches(self, lines: LineReader, options: InputOptions, limits: Limits) -> Iterator[Batch]:
        """See `LineSource.batches`."""
        for group in lines.groups():
            batch = Batch()
            for offset, number, data, size in group:
                if size > len(data) or data.strip():
                    add_text(batch, data, size, offset, number, options.label)
            yield batch


class TextFileSource(LineSource):
    """The whole file is a document, without the blank lines before its first and after its last line of text."""

    def batches(self, lines: LineReader, options: InputOptions, limits: Limits) -> Iterator[Batch]:
        """See `LineSource.batches`."""
        kept: list[Line] = []
        size = blank = 0  # bytes up to the last line of text; blank lines' bytes behind it
        for group in lines.groups():
            for line in group:
                if line.size == len(line.data) and not line.data.strip():
                    blank += line.size + 1 if kept else 0
                    if kept and size + blank <= limits.max_record_bytes:
                        kept.append(line)
                    continue
                size, blank = size + blank + line.size + (1 if size else 0), 0
                if size <= limits.max_record_bytes or not kept:
                    kept.append(line)
            yield Batch()
        batch = Batch()
        if size:
            text = b"\n".join([line.data for line in kept])[:size]
            add_text(batch, text, size, kept[0].offset, kept[0].number, options.label)
        yield batch


class DelimitedSource:
    """Paragraphs, or texts between separators."""

    pieces = "bytes"

    def plan(self, file: InputFile, identity: Identity, limits: Limits) -> list[Piece]:
        """See `Source.plan`. Whether a separator that overlaps itself begins at a byte depends on all before it."""
        separator = file.options.text_separator
        return cut(file, identity, limits, separator is None or not overlaps_itself(separator.encode()))

    def open(self, task: Task, limits: Limits) -> Reading:
        """See `Source.open`."""
        return (ParagraphReading if task.options.text_separator is None else SeparatorReading)(task, limits, add_text)
