"""What a source hands on: documents that were read and records that could not be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from pipeline.sources.blocks import KEPT_OF_OVERSIZE, LineReader

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Document(NamedTuple):
    """One extracted text, in UTF-8. `offset`: byte offset of its record in the decompressed file; `line`: line
    number within the task, from 0."""

    offset: int
    line: int
    text: bytes
    label: int


class BadRecord(NamedTuple):
    """A record that could not be read. `raw` holds its first bytes, `size` its whole length."""

    offset: int
    line: int
    size: int
    reason: str
    detail: str
    raw: bytes


@dataclass
class Batch:
    """A run of records in input order."""

    documents: list[Document] = field(default_factory=list)
    bad: list[BadRecord] = field(default_factory=list)


@dataclass(frozen=True)
class ReadOptions:
    """What a reader needs to know of the configuration."""

    text_field: str
    label_field: str
    max_record_bytes: int


def common_fault(data: bytes, size: int, unit: str) -> tuple[str, str] | None:
    """What makes a record of any source unreadable before it is looked into: reason and detail, or None."""
    if size > len(data):
        return "record_too_large", f"{size} bytes exceed max_record_bytes; kept the first {KEPT_OF_OVERSIZE}"
    if data.startswith(BYTE_ORDER_MARK):
        return "byte_order_mark", f"the {unit} starts with a UTF-8 byte order mark; save the file without it"
    return None


class Source(Protocol):
    """Turns the lines of one task into documents."""

    splittable: bool
    """Whether every line is a record of its own, so that a plain file can be cut at any line."""

    def batches(self, lines: LineReader, options: ReadOptions) -> Iterator[Batch]:
        """Documents and bad records, in order, about a megabyte at a time."""
        ...
