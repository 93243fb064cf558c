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
from pipeline.sources.blocks import Line, LineReader
from pipeline.sources.compression import CHUNK
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
            starts = _row_starts(raw, file.options, [piece.start for piece in pieces], limits)
        borders = [*starts, identity.size]
        return [Piece(a, b, b - a) for a, b in pairwise(borders) if a < b]

    def open(self, task: Task, limits: Limits) -> Reading:
        """See `Source.open`."""
        return _CsvReading(task, limits)


def _row_starts(raw: io.RawIOBase, options: InputOptions, blocks: list[int], limits: Limits) -> list[int]:
    """The first row start at or behind each of `blocks`; only the first block's where quotes break the rules."""
    delimiter = ord(options.csv_delimiter)
    starts, wanted = [0], iter(blocks[1:])
    block = next(wanted, None)
    position, quoted, previous = 0, False, 10
    while chunk := raw.read(1 << 20):
        data = np.frombuffer(chunk, np.uint8)
        newline = data == 10
        if options.csv_quotes and (quoted or _QUOTE in chunk):
            quotes = data == _QUOTE
            if _stray(data, quotes, previous, delimiter):
                return [0]
            inside = (np.cumsum(quotes, dtype=np.int64) + quoted) & 1  # after each byte
            quoted = bool(inside[-1])
            newline &= inside == 0
        ends = np.flatnonzero(newline) + (position + 1)
        while block is not None and (at := int(np.searchsorted(ends, block))) < len(ends):
            if ends[at] > starts[-1]:
                starts.append(int(ends[at]))
            block = next(wanted, None)
        position, previous = position + len(chunk), chunk[-1]
    return [0] if quoted else starts


def _stray(data: npt.NDArray[np.uint8], quotes: npt.NDArray[np.bool_], previous: int, delimiter: int) -> bool:
    """Whether a quote stands between two ordinary characters, where RFC 4180 allows none. (Of the two at a chunk's
    ends one neighbour is not looked at.)"""
    places = np.flatnonzero(quotes)
    before = np.where(places > 0, data[places - 1], previous)
    after = data[np.minimum(places + 1, len(data) - 1)]
    special = np.zeros(256, np.bool_)
    special[[_QUOTE, delimiter, 10, 13]] = True
    return bool((~special[before] & ~special[after]).any())


class _RowTooLong(Exception):
    """A row goes on beyond the limit of a record."""


class _Rows:
    """Rows from lines. The csv module sees the text as Latin-1, which maps every byte to one character and back."""

    def __init__(self, groups: Iterator[list[Line]], options: InputOptions, limit: int) -> None:
        self._groups, self._limit = groups, limit
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
        """The next line, for the csv module."""
        while not self._waiting:
            self._waiting = next(self._groups)[::-1]
        line = self._waiting.pop()
        self._used.append(line)
        if line.size > len(line.data) or line.offset + line.size - self._used[0].offset > self._limit:
            raise _RowTooLong
        return line.data.decode("latin-1") + "\n"

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
    data = [name.encode("latin-1") for name in row]
    if data:
        data[0] = data[0].removeprefix(BYTE_ORDER_MARK)  # Excel writes it; no text is lost with it
    return [name.decode(errors="replace").strip() for name in data]


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
