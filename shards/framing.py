"""What an encoder's rows look like: pieces `[CLS] text [SEP]` or `[CLS] A [SEP] B [SEP]`, then padding (BERT, Devlin et
al. 2019, section 3; several pieces in a row as ModernBERT, Warner et al. 2024, packs them).

B rows a batch, T tokens a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from shards.token_stream import IGNORE, PackedBatch

SINGLE = 2
"""Tokens that stand around a text."""
PAIR = 3
"""Tokens that stand around and between two texts."""

Tokens = npt.NDArray[np.int64]


class RoleIds(Protocol):
    """A tokenizer's roles (`tokenization.roles.Roles`)."""

    def require(self, role: str, purpose: str, where: object) -> int:
        """The id of `role`, or a `UserError` naming what needs it."""
        ...


@dataclass(frozen=True)
class Frame:
    """The ids that texts are framed and rows filled up with."""

    cls: int
    sep: int
    pad: int

    @classmethod
    def of(cls, roles: RoleIds, purpose: str, where: object) -> Frame:
        """The frame that a tokenizer's roles make; `UserError` naming `purpose` and `where` for a missing one."""
        return cls(*(roles.require(role, purpose, where) for role in ("cls", "sep", "pad")))


class FramedRows:
    """Rows that are filled piece by piece, the first row first.

    `single` and `pair` make room for a piece and hand out where its texts are to be written. The rest of a row stays
    padding, a piece of its own. With `token_types`, all from B on (its `[SEP]` too) is 1; with `labels`, every piece
    has one. Costs O(B*T) and one step a piece.
    """

    def __init__(
        self, rows: int, sequence_length: int, frame: Frame, *, token_types: bool = False, labels: bool = False
    ) -> None:
        self._frame = frame
        self._inputs = np.full((rows, sequence_length), frame.pad, np.int64)
        self._types = np.zeros((rows, sequence_length), np.int64) if token_types else None
        self._labels: list[int] | None = [] if labels else None
        self._borders: list[int] = []
        self._row, self._filled = -1, sequence_length  # the row that is being filled, and its tokens so far

    def single(self, row: int, length: int, label: int = IGNORE) -> Tokens:
        """Open `[CLS] text [SEP]` in `row`; the text (length,) is to be written to what is returned, a view."""
        place = self._open(row, length + SINGLE, label)
        return self._framed(row, place, length)

    def pair(self, row: int, first: int, second: int, label: int = IGNORE) -> tuple[Tokens, Tokens]:
        """Open `[CLS] A [SEP] B [SEP]` in `row`; A (first,) and B (second,) are to be written to the views returned."""
        place = self._open(row, first + second + PAIR, label)
        middle = place + first + SINGLE
        if self._types is not None:
            self._types[row, middle : middle + second + 1] = 1
        self._inputs[row, middle + second] = self._frame.sep
        return self._framed(row, place, first), self._inputs[row, middle : middle + second]

    def batch(self) -> PackedBatch:
        """All rows, without next tokens. Nothing can be added afterwards."""
        rows, length = self._inputs.shape
        self._go_to(rows)
        segments = np.array([*self._borders, rows * length], np.int32)
        labels = None if self._labels is None else np.array(self._labels, np.int64)
        return PackedBatch(self._inputs, None, segments, self._types, labels)

    def _framed(self, row: int, place: int, length: int) -> Tokens:
        end = place + 1 + length
        self._inputs[row, place], self._inputs[row, end] = self._frame.cls, self._frame.sep
        return self._inputs[row, place + 1 : end]

    def _open(self, row: int, tokens: int, label: int) -> int:
        """Begin a piece of `tokens`; where in the row."""
        self._go_to(row)
        place = self._filled
        self._begin(label)
        self._filled += tokens
        assert self._filled <= self._inputs.shape[1], "a row overflows"
        return place

    def _go_to(self, row: int) -> None:
        """Fill up the rows before `row` with padding."""
        assert row >= self._row, "rows are filled in order"
        length = self._inputs.shape[1]
        while self._row < row:
            if self._filled < length:
                self._begin(IGNORE)
            self._row, self._filled = self._row + 1, 0

    def _begin(self, label: int) -> None:
        self._borders.append(self._row * self._inputs.shape[1] + self._filled)
        if self._labels is not None:
            self._labels.append(label)
