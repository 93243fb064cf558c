"""Cut a stream of chunks into lines: runs of them, with where each begins, in bounded memory however long a line is."""

from __future__ import annotations

from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from pipeline.arrays import places_of
from pipeline.sources.base import KEPT_OF_OVERSIZE

_LINE_FEED = 0x0A


def line_feeds(chunk: bytes) -> int:
    """How many line feeds `chunk` has; `bytes.count` takes five times as long."""
    return int(np.count_nonzero(np.frombuffer(chunk, np.uint8) == _LINE_FEED))


class Line(NamedTuple):
    """One line without its line end. `size` exceeds len(data) where it was longer than the limit and was cut."""

    offset: int
    number: int
    data: bytes
    size: int


class LineRun:
    """Consecutive lines without their line ends. `offset` and `number` are the first one's; `sizes` are the true sizes
    of those that were longer than the limit and were cut, by their place. Whole lines may be given as a `block`, each
    with its line end: they are then cut apart only if someone asks for them one by one."""

    def __init__(
        self, offset: int, number: int, lines: list[bytes], sizes: dict[int, int], block: bytes | None = None
    ) -> None:
        self.offset, self.number, self.sizes, self._block = offset, number, sizes, block
        if block is None:
            self.lines = lines

    @cached_property
    def lines(self) -> list[bytes]:
        """The lines."""
        assert self._block is not None
        return self._block.split(b"\n")[:-1]

    @property
    def blank(self) -> bool:
        """Whether no line holds anything."""
        return not any(self.lines) if self._block is None else not self._block.strip(b"\n")

    def joined(self, between: bytes) -> bytes:
        """All lines with `between` each two of them."""
        return between.join(self.lines) if self._block is None else self._block[:-1].replace(b"\n", between)

    def offsets(self) -> list[int]:
        """Where each line begins."""
        if self._block is not None:
            feeds = places_of(np.frombuffer(self._block, np.uint8) == _LINE_FEED)
            return [self.offset, *(feeds[:-1] + (self.offset + 1)).tolist()]
        sizes = list(map(len, self.lines))
        for place, size in self.sizes.items():
            sizes[place] = size
        starts = list(accumulate(sizes, lambda start, size: start + size + 1, initial=self.offset))
        starts.pop()
        return starts

    def each(self) -> list[Line]:
        """The lines one by one."""
        sizes, first = self.sizes, self.number
        columns = enumerate(zip(self.offsets(), self.lines, strict=True))
        return [Line(start, first + place, data, sizes.get(place, len(data))) for place, (start, data) in columns]


class LineSplitter:
    """Cuts a stream of chunks into lines; a line beyond `limit` bytes is counted but not kept."""

    def __init__(self, offset: int, limit: int, skip_first: bool) -> None:
        self._offset = offset  # of the pending line
        self._number = 0
        self._limit = limit
        self._kept = min(KEPT_OF_OVERSIZE, limit)  # shorter than the line, by which it is known for too long
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._skipping = skip_first

    @property
    def open(self) -> bool:
        """Whether a line has begun whose end was not seen."""
        return self._pending_size > 0 and not self._skipping

    def feed(self, chunk: bytes) -> list[Line]:
        """The lines that end within `chunk`."""
        return self.run(chunk).each()

    def finish(self) -> list[Line]:
        """The last line, when the stream did not end in a newline."""
        return self.end().each()

    def run(self, chunk: bytes) -> LineRun:
        """The lines that end within `chunk`."""
        if b"\n" not in chunk:
            self._keep(chunk)
            return LineRun(self._offset, self._number, [], {})
        if not self._skipping and self._pending_size + len(chunk) <= self._limit:
            return self._whole(chunk, chunk.rfind(b"\n") + 1)
        lines = chunk.split(b"\n")
        rest, first = lines.pop(), lines.pop(0)
        behind = len(chunk) - len(first) - 1 - len(rest)  # bytes of the lines between, with their ends
        self._keep(first)
        run = self._end_line(newline=1)
        base = len(run.lines)
        if len(chunk) > self._limit:
            for place, line in enumerate(lines):
                if len(line) > self._limit:
                    run.sizes[base + place] = len(line)
                    lines[place] = line[: self._kept]
        run.lines.extend(lines)
        self._offset += behind
        self._number += len(lines)
        self._keep(rest)
        return run

    def _whole(self, chunk: bytes, end: int) -> LineRun:
        """The pending line and the rest of those in chunk[:end], none of which can be too long."""
        block = b"".join([*self._pending, chunk[:end]])
        run = LineRun(self._offset, self._number, [], {}, block)
        self._offset += len(block)
        self._number += line_feeds(block)
        self._pending, self._pending_size = [chunk[end:]], len(chunk) - end
        return run

    def end(self) -> LineRun:
        """The last line, when the stream did not end in a newline."""
        return self._end_line(newline=0) if self.open else LineRun(self._offset, self._number, [], {})

    def _keep(self, data: bytes) -> None:
        self._pending_size += len(data)
        if self._skipping:
            return
        if self._pending_size <= self._limit:
            self._pending.append(data)
        elif self._pending:
            kept = b"".join([*self._pending, data[: self._kept]])[: self._kept]
            self._pending = [kept]
        else:
            self._pending = [data[: self._kept]]

    def _end_line(self, newline: int) -> LineRun:
        """The pending line ends: a run of it alone, of none when it is skipped."""
        start, size, data = self._offset, self._pending_size, b"".join(self._pending)
        self._offset += size + newline
        self._pending, self._pending_size = [], 0
        if self._skipping:
            self._skipping = False
            self._number += newline
            return LineRun(self._offset, self._number, [], {})
        run = LineRun(start, self._number, [data], {0: size} if size > len(data) else {})
        self._number += newline
        return run
