"""The contract of the sources: inputs, tasks, and what a reading hands on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, Protocol

from pydantic import Field

from foundation import fingerprint
from foundation.errors import UserError
from pipeline.settings.inputs import Delimiter, NotEmpty, Split, Unit, Weight
from shards.documents import NO_LABEL

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
KEPT_OF_OVERSIZE = 4096
LARGEST_LABEL = 2**31 - 1


class InputChanged(UserError):
    """An input is not the one that was planned. Its argument is the input's path."""

    def __str__(self) -> str:
        return f"{self.args[0]}: changed while it was read; run again when nothing writes to it"


@dataclass(frozen=True)
class InputOptions:
    """How one input is read and what becomes of its documents. `format` and `compression` are settled when the input
    is found; the fields' meanings are those of the settings of the same name. What a manifest says they
    were is checked by their types (`pipeline.inspection.recorded`)."""

    text_field: str = "text"
    label_field: str | None = "label"
    text_documents: Unit = "paragraph"
    format: str = "jsonl"
    compression: str = ""
    text_template: NotEmpty | None = None
    text_separator: NotEmpty | None = None
    messages_field: str | None = None
    labels: tuple[str, ...] = ()
    label: Annotated[int, Field(ge=NO_LABEL, le=LARGEST_LABEL)] = NO_LABEL
    csv_delimiter: Delimiter | Literal[""] = ","
    csv_quotes: bool = True
    csv_header: bool = True
    split: Split | None = None
    weight: Weight = 1.0

    def reading(self) -> dict[str, Any]:
        """The options that change what reading and mapping give."""
        return {key: value for key, value in asdict(self).items() if key not in ("split", "weight")}

    def entry(self) -> dict[str, Any]:
        """What a manifest says of them, as JSON values: all that differ from the defaults."""
        defaults = asdict(InputOptions())
        changed = {key: value for key, value in asdict(self).items() if value != defaults[key]}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in changed.items()}


class Identity(NamedTuple):
    """What an input was when it was planned: bytes, time of change (or a store's version tag), and for local ones the
    hash of a few probed blocks."""

    size: int
    stamp: str
    probe: str


def as_utf8(name: str) -> str:
    """A name of a file as datasets write it: bytes that are no UTF-8, surrogates in Python (PEP 383), are escaped."""
    return name.encode(errors="backslashreplace").decode()


@dataclass(frozen=True)
class InputFile:
    """One input. `path` is a local path or a URL; `name` is how the dataset names it: relative to what the user gave,
    never a whole local path."""

    path: str
    name: str
    options: InputOptions
    identity: Identity | None = None
    """What the listing that found it told, where that spares asking again."""


@dataclass(frozen=True)
class Limits:
    """Bounds of every reader."""

    max_record_bytes: int
    block_bytes: int


class Piece(NamedTuple):
    """A part of an input that one task reads: [start, end) in the source's own units (bytes, row groups, files), and
    how many bytes of input it stands for; `records`: how many it holds, where the format tells."""

    start: int
    end: int
    bytes: int
    records: int | None = None


@dataclass(frozen=True)
class Task:
    """A piece of input `source` (its number). `max_records` stops earlier (None: read all)."""

    source: int
    path: str
    start: int
    end: int
    bytes: int
    identity: Identity
    options: InputOptions
    max_records: int | None = None

    @property
    def key(self) -> str:
        """Name of the task's part: from the input's identity and the range, not from its place among the inputs. A
        local input is known by its content, so that it may move, one of the hub by its version tag, a content hash.
        What other stores say (size, at best a time) may be true of several files, so their addresses count."""
        value: dict[str, Any] = {
            "identity": list(self.identity),
            "range": [self.start, self.end],
            "options": self.options.reading(),
            "max_records": self.max_records,
        }
        if "://" in self.path and not self.path.startswith("hf://"):
            value["address"] = self.path
        return fingerprint.of_json(value)[:32]

    @property
    def label(self) -> str:
        """The input range, for messages."""
        return f"{self.path} [{self.start}, {self.end})"


class BadRecord(NamedTuple):
    """A record that could not be read. `raw` holds its first bytes, `size` its whole length."""

    offset: int
    line: int
    size: int
    reason: str
    detail: str
    raw: bytes


Conversation = tuple[tuple[str, bytes], ...]
"""(role, content in UTF-8) of each message."""


@dataclass
class Batch:
    """A run of records in input order, as columns.

    `texts`: the extracted texts in UTF-8; `offsets`: where each record begins (byte in the decompressed file, or row,
    or file number); `lines`: line number within the task, from 0; `labels`: class label, NO_LABEL for none;
    `conversations`: for chat records, of which `texts` then holds the contents joined by line feeds; in a batch that
    has some, a plain text's is the empty tuple.
    """

    texts: list[bytes] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    bad: list[BadRecord] = field(default_factory=list)
    conversations: list[Conversation] | None = None

    def add(self, text: bytes, offset: int, line: int, label: int) -> None:
        """Append one document."""
        self.texts.append(text)
        self.offsets.append(offset)
        self.lines.append(line)
        self.labels.append(label)

    @property
    def records(self) -> int:
        """Documents and bad records."""
        return len(self.texts) + len(self.bad)

    def first(self, limit: int) -> Batch:
        """The first `limit` records in input order."""
        if self.records <= limit:
            return self
        offsets = sorted([*self.offsets, *(bad.offset for bad in self.bad)])
        border = offsets[limit]  # offsets of records differ
        count = sum(offset < border for offset in self.offsets)
        return Batch(
            self.texts[:count], self.offsets[:count], self.lines[:count], self.labels[:count],
            [bad for bad in self.bad if bad.offset < border],
            None if self.conversations is None else self.conversations[:count],
        )  # fmt: skip


class Reading(Protocol):
    """One task being read. Iterating gives its batches, in order, about a megabyte each; the attributes tell what was
    read, and are final after the iteration. Raises `InputChanged`."""

    position: int
    """Input bytes used so far (compressed ones for an archive)."""
    newlines: int
    """Lines in the piece."""
    digests: list[str]
    """SHA-256 of the piece's consecutive blocks, for the input's fingerprint."""
    damage: str | None
    """Why reading ended early."""

    def __iter__(self) -> Iterator[Batch]: ...

    def stop(self) -> None:
        """Enough was read: give no more documents, only finish the fingerprint."""
        ...


class Source(Protocol):
    """Reads one format. `pieces` names the units of its pieces."""

    pieces: str

    def plan(self, file: InputFile, identity: Identity, limits: Limits) -> list[Piece]:
        """Cut an input into pieces."""
        ...

    def open(self, task: Task, limits: Limits) -> Reading:
        """Begin to read a task."""
        ...


def common_fault(data: bytes, size: int, unit: str) -> tuple[str, str] | None:
    """What makes a record of any source unreadable before it is looked into: reason and detail, or None."""
    if size > len(data):
        return "record_too_large", f"{size} bytes exceed max_record_bytes; kept the first {KEPT_OF_OVERSIZE}"
    if data.startswith(BYTE_ORDER_MARK):
        return "byte_order_mark", f"the {unit} starts with a UTF-8 byte order mark; save the file without it"
    return None
