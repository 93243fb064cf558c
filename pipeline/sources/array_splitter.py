"""Cut the text of one JSON array (RFC 8259) into its elements, chunk by chunk, in bounded memory.

Nothing is parsed: brackets are counted and strings passed over. A string cannot hold a line feed, so that a missing
quote spoils one line, not the rest of the file.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from pipeline.sources.base import BYTE_ORDER_MARK, KEPT_OF_OVERSIZE
from pipeline.sources.line_splitter import Line
from pipeline.sources.records import Unreadable

_SPACE = b" \t\r\n"
# A whole string; or one character that matters outside of strings.
_TOKENS = re.compile(rb'"[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+"|["\[\]{},]')
_STRING_END = re.compile(rb'[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+(?:"|\\?\n)')
# Brackets and commas at the end of a line, which a string that lacks its closing quote does not swallow.
_LINE_TAIL = re.compile(rb"[\]}, \t\r]{0,64}\Z")
_QUOTE, _COMMA = b'",'
_OPEN, _CLOSE = b"[{", b"]}"


class Element(NamedTuple):
    """One element as a line (its first bytes if it is too long), or what stands where none should."""

    line: Line
    fault: Unreadable | None


class ArraySplitter:
    """`feed` it the file; `closed` tells afterwards whether the array's end was seen."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._head = min(KEPT_OF_OVERSIZE, limit)  # kept of an element that is too long
        self._depth = 0
        self._in_string = False
        self._held = b""
        self._now, self._lines = 0, 0  # up to here the file was understood
        self._kept: list[bytes] = []
        self._size, self._at, self._at_line = 0, 0, 0  # of the open element
        self.closed = False

    def feed(self, chunk: bytes) -> list[Element]:
        """The elements that end within `chunk`."""
        found: list[Element] = []
        data, self._held = self._held + chunk, b""
        if self._now == 0 and data.startswith(BYTE_ORDER_MARK):
            fault = Unreadable("byte_order_mark", "the file starts with a UTF-8 byte order mark; save it without")
            found.append(Element(Line(0, 0, BYTE_ORDER_MARK, len(BYTE_ORDER_MARK)), fault))
            self._pass(BYTE_ORDER_MARK)
            data = data[len(BYTE_ORDER_MARK) :]
        done, place = 0, 0
        while not self.closed and place >= 0:
            done, place = self._scan(data, done, place, found)
        if self._in_string:
            self._hold(data)
            data = data[: len(data) - len(self._held)]
        self._keep(data[done:])
        return found

    def finish(self) -> list[Element]:
        """The last element of an array that was not closed, or what follows one that was."""
        found: list[Element] = []
        self._keep(self._held)
        fault = Unreadable("invalid_json", "something follows the end of the array") if self.closed else None
        if self._size:
            self._end(found, fault)
        return found

    def _scan(self, data: bytes, done: int, place: int, found: list[Element]) -> tuple[int, int]:
        """Go on from `place`; up to `done` all was kept or passed. Returns both, `place` -1 at the end of `data`."""
        if self._in_string:
            end = _STRING_END.match(data, place)
            if end is None:
                return done, -1
            self._in_string, place = False, self._after(data, place, end.end())
        for token in _TOKENS.finditer(data, place):
            place, kind = token.start(), data[token.start()]
            if kind == _QUOTE:
                if token.end() == place + 1:
                    self._in_string = True
                    return done, place + 1
            elif kind == _COMMA:
                if self._depth == 1:
                    done = self._delimit(data, done, place, found)
            elif kind in _OPEN:
                self._depth += 1
                if self._depth == 1:
                    self._pass(data[done : place + 1])
                    done = place + 1
            else:
                self._depth -= 1
                if self._depth == 0:
                    done = self._delimit(data, done, place, found)
                    self.closed = True
                    return done, -1
        return done, -1

    def _delimit(self, data: bytes, done: int, place: int, found: list[Element]) -> int:
        """The element before the comma or bracket at `place` is complete."""
        self._keep(data[done:place])
        if self._size:
            self._end(found, None)
        elif data[place] == _COMMA or self._elements:
            fault = Unreadable("invalid_json", "there is nothing before this comma or bracket")
            found.append(Element(Line(self._now, self._lines, data[place : place + 1], 1), fault))
        self._elements += 1
        self._pass(data[place : place + 1])
        return place + 1

    _elements = 0

    @staticmethod
    def _after(data: bytes, start: int, end: int) -> int:
        """Where to go on behind a string whose last part in `data` is [start, end): behind its quote, or, when a line
        feed ended it, at the brackets and commas before that."""
        if data[end - 1] == _QUOTE:
            return end
        tail = _LINE_TAIL.search(data[max(start, end - 65) : end - 1])
        return end - 1 - len(tail[0] if tail else b"")

    def _hold(self, data: bytes) -> None:
        """Hold back what the next chunk decides: a tail that may end a line, a backslash that escapes what follows."""
        tail = _LINE_TAIL.search(data[-64:])
        held = len(tail[0]) if tail else 0
        before = data[: len(data) - held]
        held += (len(before) - len(before.rstrip(b"\\"))) % 2
        self._held = data[len(data) - held :]

    def _pass(self, data: bytes) -> None:
        self._now += len(data)
        self._lines += data.count(b"\n")

    def _keep(self, data: bytes) -> None:
        if not self._size:
            text = data.lstrip(_SPACE)
            self._pass(data[: len(data) - len(text)])
            self._at, self._at_line, data = self._now, self._lines, text
        self._size += len(data)
        self._pass(data)
        if self._size <= self._limit:
            self._kept.append(data)
        elif data:
            self._kept = [b"".join([*self._kept, data[: self._head]])[: self._head]]

    def _end(self, found: list[Element], fault: Unreadable | None) -> None:
        text, size = b"".join(self._kept), self._size
        if size == len(text):
            text = text.rstrip(_SPACE)
            size = len(text)
        found.append(Element(Line(self._at, self._at_line, text, size), fault))
        self._kept, self._size = [], 0
