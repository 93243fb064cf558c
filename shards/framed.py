"""An encoder's samples: the texts of a split, framed and packed into rows by a plan (`shards.cutting.Texts`).

B rows a batch, T tokens a row. A batch is a pure function of (seed, sample numbers); nothing is masked here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from shards.dataset import Dataset
from shards.framing import Frame, FramedRows
from shards.packing_plan import Plan
from shards.planned import RowsOfPlan
from shards.token_stream import PackedBatch, TokenStream


class _TextRows:
    """Makes rows of a plan: `[CLS] text [SEP]` for each of its pieces."""

    def __init__(self, dataset: Dataset, plan: Plan, frame: Frame) -> None:
        self._plan, self._frame = plan, frame
        self._stream = TokenStream(dataset)

    def read(self, rows: Sequence[int]) -> PackedBatch:
        framed = FramedRows(len(rows), self._plan.summary.sequence_length, self._frame)
        for row, number in enumerate(rows):
            for start, length in self._plan.row(number):
                self._stream.read(start, framed.single(row, length))
        return framed.batch()


class FramedSamples(RowsOfPlan):
    """Training samples: every token of every text is in every epoch once."""

    def __init__(self, dataset: Dataset, plan: Plan, seed: int, frame: Frame) -> None:
        super().__init__(dataset, plan, seed)
        self._texts = _TextRows(dataset, plan, frame)

    def batch(self, numbers: npt.NDArray[np.int64]) -> PackedBatch:
        """The samples with global `numbers` (B,): number // samples_per_epoch is the epoch. Costs O(B*T)."""
        return self._texts.read(self.rows(numbers))


class SequentialFramed:
    """One full pass in the plan's order, for evaluation: every token of every text once."""

    def __init__(self, dataset: Dataset, plan: Plan, frame: Frame) -> None:
        self.plan, self.sequence_length = plan, plan.summary.sequence_length
        self._texts = _TextRows(dataset, plan, frame)

    def __len__(self) -> int:
        """Number of rows."""
        return self.plan.summary.rows

    def batch(self, first: int, count: int) -> PackedBatch:
        """Rows `first` … `first + count - 1` (fewer at the end)."""
        return self._texts.read(range(first, min(first + count, len(self))))
