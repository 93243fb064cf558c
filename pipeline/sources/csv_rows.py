"""CSV and TSV (RFC 4180): one record a row, fields by the names in the header; quoted fields may hold line ends."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from pipeline.sources import files
from pipeline.sources.base import (
    BYTE_ORDER_MARK,
    KEPT_OF_OVERSIZE,
    Batch,
    Identity,
    InputFile,
    InputOptions,
    Limits,
    Piece,
    Reading,
    Task,
    common_fault,
)
from pipeline.sources.blocks import LineReader
from pipeline.sources.compression import CHUNK
from pipeline.sources.line_splitter import Line
from pipeline.sources.lines import cut
from pipeline.sources.records import Collector, Extractor, Unreadable

_QUOTE = ord('"')


class CsvSource:
    """A plain file is cut where rows begin, which counting its quotes tells; a file whose quotes break the rules of
    RFC 4180 is one piece."""

    pieces = "bytes"

    def plan(self, file: InputFile, identity: Identity, limits: Limits) -> list[Piece]:
        """See `Source.plan`. Reads the file once when it is to be cut and may have quotes."""
        pieces = cut(file, identity, limits, splittable=True)
        if len(pieces) < 2:
            return pieces
        if files.is_url(file.path):  # to read it twice costs more than the other cores give
            return [Piece(0, identity.size, identity.size)]
        with files.opened(file.path, identity) as raw:
            starts = _row_starts(raw, file.options, [piece.start for piece in pieces])
        borders = [*starts, identity.size]
        return [Piece(a, b, b - a) for a, b in pairwise(borders) if a < b]

    def open(self, task: Task, limits: Limits) -> Reading:
        """See `Source.open`."""
        return _CsvReading(task, limits)


def _row_starts(raw: io.RawIOBase, options: InputOptions, blocks: list[int]) -> list[int]:
    """The first row start at or behind each of `blocks`; only the first block's where quotes break the rules."""
    quotes, starts, wanted = _Quotes(ord(options.csv_delimiter)), [0], iter(blocks[1:])
    block, position = next(wanted, None), 0
    while chunk := raw.read(CHUNK):
        if position == 0 and chunk.startswith(BYTE_ORDER_MARK):
            chunk = b"\n" * len(BYTE_ORDER_MARK) + chunk[len(BYTE_ORDER_MARK) :]  # a field may begin behind it
        newline = np.frombuffer(chunk, np.uint8) == 10
        if options.csv_quotes:
            newline &= ~quotes.inside(chunk)
            if quotes.broken:
                return [0]
        ends = np.flatnonzero(newline) + (position + 1)
        while block is not None and (at := int(np.searchsorted(ends, block))) < len(ends):
            if ends[at] > starts[-1]:
                starts.append(int(ends[at]))
            block = next(wanted, None)
        position += len(chunk)
    return [0] if quotes.open else starts


class _Quotes:
    """Follows the quotes of a file, chunk by chunk. RFC 4180: one opens only at the start of a field, and a closing one
    ends it; within, a quote is doubled. Then those before a byte tell by their number whether it is in quotes."""

    def __init__(self, delimiter: int) -> None:
        self.open = False
        self.broken = False
        self._previous, self._closed = 10, False  # the byte before the chunk, and whether it is a closing quote
        self._before, self._behind = np.zeros(256, np.bool_), np.zeros(256, np.bool_)
        self._before[[delimiter, 10, _QUOTE]] = True
        self._behind[[delimiter, 10, 13, _QUOTE]] = True

    def inside(self, chunk: bytes) -> npt.NDArray[np.bool_]:
        """For each byte whether it is in quotes; sets `broken` when the rules are."""
        data = np.frombuffer(chunk, np.uint8)
        if self._closed and not self._behind[data[0]]:
            self.broken = True
        mask = data == _QUOTE
        places = np.flatnonzero(mask)
        closing = (np.arange(len(places)) + self.open) % 2 == 1
        before = np.where(places > 0, data[places - 1], self._previous)
        behind = self._behind[data[np.minimum(places + 1, len(data) - 1)]]
        if not (np.where(closing, behind, self._before[before]) | (closing & (places == len(data) - 1))).all():
            self.broken = True
        parity = np.cumsum(mask, dtype=np.uint8)  # wraps at 256, which is even
        parity += self.open
        parity &= 1
        inside = parity.view(np.bool_)
        self._previous = int(data[-1])
        self._closed = self._previous == _QUOTE and bool(closing[-1])
        self.open = bool(inside[-1])
        return inside


class _RowTooLong(Exception):
    """A row goes on beyond the limit of a record."""


class _Rows:
    """Rows from lines. The csv module sees the text as Latin-1, which maps every byte to one character and back."""

    def __init__(self, groups: Iterator[list[Line]], options: InputOptions, limit: int) -> None:
        self._groups, self._limit, self._header = groups, limit, options.csv_header
        self._waiting: list[Line] = []  # the next line is the last
        self._used: list[Line] = []  # of the row being read
        csv.field_size_limit(max(limit, 131072))
        if options.csv_quotes:
            self._reader = csv.reader(self, delimiter=options.csv_delimiter, strict=True)
        else:
            self._reader = csv.reader(self, delimiter=options.csv_delimiter, strict=True, quoting=csv.QUOTE_NONE)

    def __iter__(self) -> _Rows:
        return self

    def __next__(self) -> str:
        """The next line, for the csv module. A byte order mark before the header, as Excel writes it, is no text."""
        while not self._waiting:
            self._waiting = next(self._groups)[::-1]
        line = self._waiting.pop()
        self._used.append(line)
        if line.size > len(line.data) or line.offset + line.size - self._used[0].offset > self._limit:
            raise _RowTooLong
        data = line.data if line.offset or not self._header else line.data.removeprefix(BYTE_ORDER_MARK)
        return data.decode("latin-1") + "\n"

    def next(self) -> tuple[list[str], Line]:
        """The next row and the lines it came from, as one. Raises `StopIteration` at the end, and `_BadRow`."""
        self._used = []
        try:
            row = next(self._reader)
        except csv.Error as error:
            raise self._bad(Unreadable("invalid_csv", str(error))) from None
        except _RowTooLong:
            if len(self._used) > 1:
                detail = "the row goes on beyond max_record_bytes; is a closing quote missing?"
                raise self._bad(Unreadable("unclosed_quote", detail)) from None
            line = self._used[0]
            fault = common_fault(line.data, line.size, "row")
            raise _BadRow(line, Unreadable(*(fault or ("record_too_large", f"{line.size} bytes")))) from None
        first, last = self._used[0], self._used[-1]
        data = first.data if first is last else b"\n".join([line.data for line in self._used])
        return row, Line(first.offset, first.number, data, len(data))

    def _bad(self, fault: Unreadable) -> _BadRow:
        """Only the first line of the row is given up; the others may hold good rows."""
        self._waiting += self._used[:0:-1]
        return _BadRow(self._used[0], fault)


class _BadRow(Exception):
    """A line that is no row."""

    def __init__(self, line: Line, fault: Unreadable) -> None:
        super().__init__(str(fault))
        self.line, self.fault = line, fault


class _CsvReading(LineReader):
    """A `Reading` of rows."""

    def __iter__(self) -> Iterator[Batch]:
        extractor, options = Extractor(self.task.options), self.task.options
        rows = _Rows(self.groups(), options, self.limit)
        names = self._names() if self.start else None
        ended = False
        while not ended:
            collector, size = Collector(), 0
            while size < CHUNK and not ended:
                try:
                    row, line = rows.next()
                    size += line.size
                    if names is None:
                        names = _names(row, options)
                        if options.csv_header:
                            continue
                    if row:
                        collector.add(extractor.extract(_record(row, names, line)), line.offset, line.number)
                except _BadRow as bad:
                    line = bad.line
                    size += line.size
                    collector.refuse(bad.fault, line.offset, line.number, line.size, line.data)
                except Unreadable as fault:
                    collector.refuse(fault, line.offset, line.number, line.size, line.data[:KEPT_OF_OVERSIZE])
                except StopIteration:
                    ended = True
            yield collector.take()

    def _names(self) -> list[str]:
        """The names of the fields, which the first row of the file tells."""
        head = LineReader(replace(self.task, start=0, end=self.start), Limits(self.limit, self._block))
        rows = _Rows(head.groups(), self.task.options, self.limit)
        while True:
            try:
                return _names(rows.next()[0], self.task.options)
            except _BadRow:
                continue


def _names(row: list[str], options: InputOptions) -> list[str]:
    if not options.csv_header:
        return [str(number) for number in range(len(row))]
    return [name.encode("latin-1").decode(errors="replace").strip() for name in row]


def _record(row: list[str], names: list[str], line: Line) -> dict[str, str]:
    if line.offset == 0 and (fault := common_fault(line.data, line.size, "row")):
        raise Unreadable(*fault)
    if len(row) != len(names):
        raise Unreadable("wrong_number_of_fields", f"{len(row)} fields, the first row has {len(names)}")
    if b"\0" in line.data:
        raise Unreadable("nul_byte", "the row holds NUL bytes; is the file UTF-16 or binary?")
    try:
        if not line.data.isascii():
            row = [field.encode("latin-1").decode() for field in row]
    except UnicodeDecodeError as error:
        raise Unreadable("invalid_utf8", str(error)) from None
    return dict(zip(names, row, strict=True))
