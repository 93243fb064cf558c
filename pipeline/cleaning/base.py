"""What a cleaning step is, and the batch of texts it works on."""

from __future__ import annotations

from functools import cached_property
from operator import is_
from typing import Protocol

from pipeline.filters.base import SEPARATOR


class Texts:
    """The documents of a batch in UTF-8, as a list and as one buffer with a SEPARATOR after each: whichever is asked
    for is made from the other."""

    def __init__(self, texts: list[bytes] | None = None, joined: bytes | None = None) -> None:
        assert (texts is None) != (joined is None)
        if texts is not None:
            self.texts = texts
        if joined is not None:
            self.joined = joined

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
