"""What a filter is, and the batch of texts it judges."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

SEPARATOR = b"\xff"
"""Stands between the documents of a joined batch; 0xFF never occurs in UTF-8."""


class TextBatch:
    """Cleaned documents in UTF-8, with what several filters need computed once, on first use."""

    def __init__(self, texts: list[bytes]) -> None:
        self.texts = texts

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def joined(self) -> bytes:
        """All documents, a SEPARATOR after each."""
        return SEPARATOR.join([*self.texts, b""])

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Bytes of each document, (n,)."""
        return np.fromiter(map(len, self.texts), np.int64, len(self.texts))


@dataclass
class Verdicts:
    """What a filter says about a batch: the reason (a short identifier) for each place it drops, and the new text of
    each place it rewrites. A place is in at most one of the two."""

    dropped: dict[int, str] = field(default_factory=dict)
    rewritten: dict[int, bytes] = field(default_factory=dict)


class Filter(Protocol):
    """Judges cleaned documents. A document's verdict depends on nothing but the document."""

    def judge(self, batch: TextBatch) -> Verdicts:
        """The verdicts over `batch`."""
        ...
