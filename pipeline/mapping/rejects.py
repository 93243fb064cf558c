"""Which rejected documents are shown: for each reason a sample that their text's checksum draws, or all of them."""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Iterable
from operator import itemgetter
from typing import Any, Literal

from pipeline.workspace.parts import PartWriter

EXCERPT_CHARS = 500
REJECTED_ROWS = "rejected.jsonl"

Row = dict[str, Any]
Samples = int | Literal["all"]


class RejectedDocuments:
    """Collects one task's rejected documents, at most `samples` of each reason in memory; "all" go to the part."""

    def __init__(self, samples: Samples, writer: PartWriter) -> None:
        self._writer = writer
        self._sample = None if samples == "all" else Sample(samples)

    def add(self, offset: int, line: int, reason: str, text: bytes) -> None:
        """Take a rejected document, `text` being what the filter saw (UTF-8)."""
        row: Row = {"offset": offset, "line": line, "reason": reason, "bytes": len(text)}
        if self._sample is None:
            self._writer.add_row(REJECTED_ROWS, {**row, "text": text.decode()})
        elif self._sample.limit:
            row["key"] = zlib.crc32(text)
            if self._sample.wants(row, (offset,)):
                row["text"] = text[: 4 * EXCERPT_CHARS].decode(errors="ignore")[:EXCERPT_CHARS]
                self._sample.add(row, (offset,))

    def finish(self) -> None:
        """Hand the sample to the part."""
        for row in self._sample.rows() if self._sample else ():
            self._writer.add_row(REJECTED_ROWS, row)


class Sample:
    """For each reason the `limit` rows with the smallest `key`; among equal ones the first in input order."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._heaps: dict[str, list[tuple[int, tuple[int, ...], Row]]] = {}

    def wants(self, row: Row, order: tuple[int, ...]) -> bool:
        """Whether `row`, at place `order` of the input, would be taken now."""
        heap = self._heaps.get(row["reason"], [])
        return len(heap) < self.limit or (-row["key"], _negative(order)) > heap[0][:2]

    def add(self, row: Row, order: tuple[int, ...]) -> None:
        """Take `row` if it is wanted, giving up another one for it."""
        if self.limit and self.wants(row, order):
            heap = self._heaps.setdefault(row["reason"], [])
            push = heapq.heappush if len(heap) < self.limit else heapq.heappushpop
            push(heap, (-row["key"], _negative(order), row))

    def rows(self) -> list[Row]:
        """All rows in input order."""
        found = [(_negative(place), row) for heap in self._heaps.values() for _, place, row in heap]
        return [row for _, row in sorted(found, key=itemgetter(0))]


def _negative(order: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(-number for number in order)


def merge(rows: Iterable[Row], samples: Samples) -> Iterable[Row]:
    """The rows to publish of all parts' rows in input order."""
    if samples == "all":
        return rows
    sample = Sample(samples)
    for place, row in enumerate(rows):
        sample.add(row, (place,))
    return [{name: value for name, value in row.items() if name != "key"} for row in sample.rows()]
