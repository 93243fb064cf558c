"""What a cleaning step is, and the batch of texts it works on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from operator import is_
from typing import Protocol

import numpy as np

from pipeline.arrays import SEPARATOR, Bytes, Places, places_of

_SEPARATOR_BYTE = SEPARATOR[0]


class Texts:
    """The documents of a batch in UTF-8, as a list and as one buffer with a SEPARATOR after each: whichever is asked
    for is made from the other. A step that knows which documents it changed names them, rising, in `changed`."""

    def __init__(
        self,
        texts: list[bytes] | None = None,
        joined: bytes | None = None,
        changed: list[int] | None = None,
        ends: Places | None = None,
    ) -> None:
        assert (texts is None) != (joined is None)
        if ends is not None:
            self.ends = ends
        if texts is not None:
            self.texts = texts
        if joined is not None:
            self.joined = joined
        self.changed = changed

    @cached_property
    def texts(self) -> list[bytes]:
        """One text a document."""
        texts = self.joined.split(SEPARATOR)
        texts.pop()  # what follows the last separator
        return texts

    @cached_property
    def joined(self) -> bytes:
        """All documents, a SEPARATOR after each."""
        return SEPARATOR.join([*self.texts, b""])

    @cached_property
    def array(self) -> Bytes:
        """The bytes of `joined`."""
        return np.frombuffer(self.joined, np.uint8)

    @cached_property
    def ends(self) -> Places:
        """Place in `joined` of the separator behind each document, (n,)."""
        return places_of(self.array == _SEPARATOR_BYTE)

    @cached_property
    def starts(self) -> Places:
        """Place in `joined` of each document's first byte, (n,)."""
        return np.concatenate([np.zeros(min(1, len(self.ends)), np.int64), self.ends[:-1] + 1])

    def documents_at(self, places: Places) -> Places:
        """The documents that the rising `places` in `joined` lie in, each once."""
        documents = np.searchsorted(self.ends, places)
        return documents[np.flatnonzero(np.diff(documents, prepend=-1))]

    def document(self, place: int) -> bytes:
        """One document."""
        return self.joined[self.starts[place] : self.ends[place]]

    def without(self, begins: Places, ends: Places, between: bytes = b"") -> Texts:
        """With `between` in place of the bytes of each [begins, ends): rising, apart, within documents, longer than
        `between`."""
        if not len(begins):
            return self
        buffer = self.joined
        kept = zip([0, *ends.tolist()], [*begins.tolist(), len(buffer)], strict=True)
        joined = between.join([buffer[begin:end] for begin, end in kept])
        gone = np.concatenate([np.zeros(1, np.int64), np.cumsum(ends - begins - len(between))])
        new_ends = self.ends - gone[np.searchsorted(begins, self.ends)]
        return Texts(joined=joined, changed=self.documents_at(begins).tolist(), ends=new_ends)

    def mapped(self, clean: Callable[[bytes], bytes], documents: Iterable[int]) -> Texts:
        """With what `clean` makes of some `documents`, in rising order."""
        pieces: list[bytes] = []
        changed, done = [], 0
        for place in documents:
            text = self.document(place)
            after = clean(text)
            if after != text:
                pieces += [self.joined[done : self.starts[place]], after]
                changed.append(place)
                done = int(self.ends[place])
        return Texts(joined=b"".join([*pieces, self.joined[done:]]), changed=changed) if changed else self


class Step(Protocol):
    """One cleaning step."""

    name: str
    """Its setting."""
    settled: bool
    """Whether it, and the steps after it, leave nothing to do for it or for a step before it."""

    def clean(self, text: bytes) -> bytes:
        """What the step makes of one text."""
        ...

    def clean_batch(self, batch: Texts) -> Texts:
        """What `clean` makes of each text of a batch; `batch` itself when that is nothing new."""
        ...


class BufferStep:
    """A step that can work on many texts in one buffer: it never looks at, or across, a separator."""

    name: str
    settled = True

    def clean(self, text: bytes) -> bytes:
        """See `Step.clean`."""
        raise NotImplementedError

    def clean_batch(self, batch: Texts) -> Texts:
        """See `Step.clean_batch`."""
        joined = self.clean(batch.joined)
        return batch if joined is batch.joined or joined == batch.joined else Texts(joined=joined)


class TextStep:
    """A step that works on one text after the other, where a cheap test of many in one buffer finds a reason to."""

    name: str
    settled = False

    def needed(self, buffer: bytes) -> bool:
        """Whether there may be anything to do in a buffer; it may say yes in vain, never no."""
        raise NotImplementedError

    def clean(self, text: bytes) -> bytes:
        """See `Step.clean`."""
        raise NotImplementedError

    def clean_batch(self, batch: Texts) -> Texts:
        """See `Step.clean_batch`."""
        if not self.needed(batch.joined):
            return batch
        texts = [self.clean(text) if self.needed(text) else text for text in batch.texts]
        return batch if all(map(is_, texts, batch.texts)) else Texts(texts)
