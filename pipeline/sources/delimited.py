"""Texts between delimiters: blank lines, or a separator string. A text belongs to the piece it starts in."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator

from pipeline.sources.base import KEPT_OF_OVERSIZE, Batch, Limits, Task
from pipeline.sources.blocks import ByteReader

_BLANK_LINES = re.compile(rb"\n(?:[ \t\r\x0b\x0c]*\n)+")
_BACK = 4096
Add = Callable[[Batch, bytes, int, int, int, int], None]
"""Takes a batch, a text, its size, offset, line and label."""


def overlaps_itself(separator: bytes) -> bool:
    """Whether two occurrences of `separator` can share bytes ("--", "abab")."""
    return any(separator.startswith(separator[-length:]) for length in range(1, len(separator)))


class _DelimitedReading(ByteReader):
    """A `Reading` of texts between delimiters: subclasses know the delimiters. What was read is either kept (text),
    passed over (delimiters) or still in `_tail`, because it needs what follows to be understood."""

    def __init__(self, task: Task, limits: Limits, add: Add) -> None:
        super().__init__(task, limits)
        self._add = add
        self._head = min(KEPT_OF_OVERSIZE, self.limit)  # kept of a text that is too long
        self._kept: list[bytes] = []
        self._size, self._at, self._at_line = 0, 0, 0  # of the open text, and where it starts
        self._now, self._lines = self.start, 0  # up to where the input was understood
        self._tail = b""
        self._skipping = False  # the open text started before the piece
        self._last = None if task.options.compression else self.end  # a text that starts there is not of this piece

    def __iter__(self) -> Iterator[Batch]:
        begun = False
        for chunk in self.chunks():
            if not begun:
                self._begin()
                begun = True
            batch = Batch()
            self._feed(batch, self._tail + chunk)
            yield batch
            if self.beyond and self._complete():
                self.finish()
        if not self._stopped:
            batch = Batch()
            self._feed_end(batch)
            yield batch

    def _complete(self) -> bool:
        """Whether no text that started in the piece is open."""
        return self._skipping or (self._now >= self.end and not (self._size and self._at < self.end))

    def _begin(self) -> None:
        """Look at what stands before the piece."""

    def _feed(self, batch: Batch, data: bytes) -> None:
        """Understand as much as possible of `data`, which begins at `_now`; leave the rest in `_tail`."""
        raise NotImplementedError

    def _feed_end(self, batch: Batch) -> None:
        self._keep(self._tail)
        self._end(batch)

    def _pass(self, data: bytes) -> None:
        self._now += len(data)
        self._lines += data.count(b"\n")

    def _keep(self, data: bytes) -> None:
        """`data` goes on the open text."""
        if not data:
            return
        if not self._size:
            self._at, self._at_line = self._now, self._lines
        self._size += len(data)
        self._pass(data)
        if self._skipping:
            return
        if self._size <= self.limit:
            self._kept.append(data)
        else:
            self._kept = [b"".join([*self._kept, data[: self._head]])[: self._head]]

    def _end(self, batch: Batch) -> None:
        """The open text is complete."""
        if not self._skipping and self._size and (self._last is None or self._at < self._last):
            self._emit(batch, b"".join(self._kept), self._size)
        self._kept, self._size, self._skipping = [], 0, False

    def _emit(self, batch: Batch, text: bytes, size: int) -> None:
        if size > len(text) or text.strip():
            self._add(batch, text, size, self._at, self._at_line, self.task.options.label)


class ParagraphReading(_DelimitedReading):
    """Runs of lines that are not blank."""

    _partial = False  # the piece begins within a line of which nothing but blanks was seen
    _in_line = False  # the open text ends within a line

    def look_behind(self, file: io.RawIOBase) -> bytes:
        """Whether a paragraph is open at `start`: the line before it, or its own part before it, is not blank."""
        file.seek(self.start - 1)
        last = file.read(1) or b""
        stop = self.start - 1 if last == b"\n" else self.start
        while stop > 0:
            first = max(0, stop - _BACK)
            file.seek(first)
            _, newline, line = (file.read(stop - first) or b"").rpartition(b"\n")
            if line.strip():
                self._skipping = True
                break
            if newline:
                break
            stop = first
        return last

    def _begin(self) -> None:
        if not self.before.endswith(b"\n"):
            self._in_line, self._partial = self._skipping, not self._skipping

    def _feed(self, batch: Batch, data: bytes) -> None:
        if self._in_line or self._partial:
            line, newline, data = data.partition(b"\n")
            line += newline
            if self._in_line or line.strip():
                self._skipping = self._skipping or self._partial
                self._keep(line)
                self._in_line = not newline
                self._partial = False
            else:
                self._pass(line)
                self._partial = not newline
        body, newline, self._tail = data.rpartition(b"\n")
        if newline:
            self._paragraphs(batch, b"\n" + body + newline)
        if len(self._tail) > self.limit:
            self._keep(self._tail)
            self._tail, self._in_line = b"", True

    def _paragraphs(self, batch: Batch, lines: bytes) -> None:
        """Whole lines, behind a line feed that is not part of the input."""
        done = 1
        for blank in _BLANK_LINES.finditer(lines):
            self._keep(lines[done : blank.start()])
            self._end(batch)
            self._pass(lines[max(1, blank.start()) : blank.end()])
            done = blank.end()
        self._keep(lines[done:])

    def _feed_end(self, batch: Batch) -> None:
        if self._tail.strip():
            self._keep(self._tail)
        self._end(batch)

    def _emit(self, batch: Batch, text: bytes, size: int) -> None:
        if size == len(text) and text.endswith(b"\n"):
            text, size = text[:-1], size - 1
        super()._emit(batch, text, size)


class SeparatorReading(_DelimitedReading):
    """What stands between occurrences of a string, with all its line ends."""

    def __init__(self, task: Task, limits: Limits, add: Add) -> None:
        super().__init__(task, limits, add)
        self._separator = (task.options.text_separator or "").encode()

    def look_behind(self, file: io.RawIOBase) -> bytes:
        """As many bytes as a separator may have before the piece."""
        size = min(self.start, len(self._separator))
        file.seek(self.start - size)
        return file.read(size) or b""

    def _begin(self) -> None:
        if self.start:
            self._skipping, self._tail = True, self.before
            self._now -= len(self.before)
            self._lines -= self.before.count(b"\n")

    def _feed(self, batch: Batch, data: bytes) -> None:
        *texts, rest = data.split(self._separator)
        for text in texts:
            self._keep(text)
            self._end(batch)
            self._pass(self._separator)
        held = min(len(rest), len(self._separator) - 1)
        self._keep(rest[: len(rest) - held])
        self._tail = rest[len(rest) - held :]
