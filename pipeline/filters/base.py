"""What a filter is, and the batch of texts it judges."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from foundation.errors import UserError
from pipeline.arrays import SEPARATOR, Bytes, Mask, Places, places_of

_PADDING = bytes(64)
_LINE_FEED, _SEPARATOR_BYTE = 0x0A, 0xFF

Feature = TypeVar("Feature")


class Lines(NamedTuple):
    """The lines of a batch (cut at line feeds, without them), (m,) each: first byte, byte behind the last, document."""

    starts: Places
    ends: Places
    documents: Places


class TextBatch:
    """Cleaned documents in UTF-8, with what several filters need computed once, on first use.

    `fixed` marks documents that no filter may rewrite (chat records, whose text has parts); `joined` is given where it
    was made before.
    """

    def __init__(self, texts: list[bytes], fixed: Sequence[object] | None = None, joined: bytes | None = None) -> None:
        self.texts = texts
        if joined is not None:
            self.joined = joined
        self._made: dict[Callable[[TextBatch], Any], Any] = {}
        self.fixed = [bool(each) for each in fixed] if fixed is not None else [False] * len(texts)

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def joined(self) -> bytes:
        """All documents, a SEPARATOR after each."""
        return SEPARATOR.join([*self.texts, b""])

    @cached_property
    def lengths(self) -> Places:
        """Bytes of each document, (n,)."""
        return np.fromiter(map(len, self.texts), np.int64, len(self.texts))

    @cached_property
    def buffer(self) -> Bytes:
        """The bytes of `joined`."""
        return np.frombuffer(self.joined, np.uint8)

    @cached_property
    def ends(self) -> Places:
        """Place in `buffer` of the separator behind each document, (n,)."""
        return np.cumsum(self.lengths + 1) - 1

    @cached_property
    def starts(self) -> Places:
        """Place in `buffer` of each document's first byte, (n,)."""
        return self.ends - self.lengths

    @cached_property
    def ascii(self) -> bool:
        """Whether every document is ASCII."""
        return int(np.count_nonzero(self.buffer.view(np.int8) < 0)) == len(self)

    @cached_property
    def _padded(self) -> bytes:
        return self.joined + _PADDING

    @cached_property
    def windows(self) -> npt.NDArray[np.uint64]:
        """The eight bytes from each place of `buffer` on, as a little-endian number; zeros follow the last byte."""
        return np.ndarray((len(self._padded) - 8,), "<u8", self._padded, 0, (1,))

    def passages(self, places: Places, size: int) -> npt.NDArray[np.uint64]:
        """The `size` bytes (a multiple of 8, at most 64) from each of `places` on, as numbers, (m, size // 8)."""
        passages = np.ndarray((len(self.joined),), f"V{size}", self._padded, 0, (1,))
        return passages[places].view("<u8").reshape(-1, size // 8)

    @cached_property
    def characters(self) -> npt.NDArray[np.int64]:
        """Characters (Unicode scalar values) of each document, (n,)."""
        if self.ascii:
            return self.lengths
        return self.count(self.buffer.view(np.int8) > -65) - 1  # all but 10xxxxxx; the separator is one of them

    @cached_property
    def lines(self) -> Lines:
        """The lines of all documents, in order; an empty document has one empty line."""
        ends = places_of((self.buffer == _LINE_FEED) | (self.buffer == _SEPARATOR_BYTE))
        starts = np.concatenate([np.zeros(min(1, len(ends)), np.int64), ends[:-1] + 1])
        per_document = np.diff(np.searchsorted(ends, self.ends, "right"), prepend=0)
        return Lines(starts, ends, np.repeat(np.arange(len(self)), per_document))

    def once(self, make: Callable[[TextBatch], Feature]) -> Feature:
        """`make` of this batch, kept for whoever asks for the same: what only some filters need, a `WordTable`."""
        if make not in self._made:
            self._made[make] = make(self)
        made: Feature = self._made[make]
        return made

    def count(self, mask: Mask) -> npt.NDArray[np.int64]:
        """How many bytes of each document `mask` (one entry a byte of `buffer`) selects, separator included, (n,)."""
        if not len(self):
            return np.zeros(0, np.int64)
        return np.add.reduceat(mask.view(np.uint8), self.starts, dtype=np.uint32).astype(np.int64)

    def documents_of(self, places: Places) -> Places:
        """The document that each of the rising `places` in `buffer` lies in, (m,)."""
        return np.repeat(np.arange(len(self)), np.diff(np.searchsorted(places, self.ends, "right"), prepend=0))

    def documents_with(self, parts: Iterable[bytes]) -> Places:
        """The documents that hold any of `parts`, rising; fast where they are rare."""
        places = []
        for part in parts:
            place = self.joined.find(part)
            while place >= 0:
                places.append(place)
                place = self.joined.find(part, place + 1)
        return np.unique(np.searchsorted(self.ends, np.array(places, np.int64)))


@dataclass
class Verdicts:
    """What a filter says about a batch: the reason (a short identifier) for each place it drops, and the new text of
    each place it rewrites. A place is in at most one of the two."""

    dropped: dict[int, str] = field(default_factory=dict)
    rewritten: dict[int, bytes] = field(default_factory=dict)


class DocumentError(UserError):
    """A document that a filter cannot judge, by its place in the batch."""

    def __init__(self, place: int, message: str) -> None:
        super().__init__(message)
        self.place = place

    def __reduce__(self) -> tuple[type[DocumentError], tuple[int, str]]:
        return type(self), (self.place, str(self))


class Filter(ABC):
    """Judges cleaned documents. A document's verdict depends on nothing but the document."""

    alone: ClassVar[bool] = False
    """Whether it judges each document by itself, at a cost: such a filter is given only what earlier ones kept."""

    @abstractmethod
    def judge(self, batch: TextBatch) -> Verdicts:
        """The verdicts over `batch`."""
