"""Samples that follow a packing plan: each row holds whole documents, or a cut of one longer than a row.

B rows a batch, T tokens a row. A batch is a pure function of (seed, sample numbers).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from shards.dataset import Dataset
from shards.packing_plan import Plan
from shards.samples import Place, shuffled
from shards.token_stream import IGNORE, PackedBatch, TokenStream

Counted = Callable[[int, int], npt.NDArray[np.bool_]]
"""Which of so many tokens of a document are targets that count, from a place in the stream on."""


class RowsOfPlan(ABC):
    """The rows of a plan, shuffled anew in each epoch. What a row is made of, its kind says."""

    def __init__(self, dataset: Dataset, plan: Plan, seed: int) -> None:
        self.dataset, self.plan, self.seed = dataset, plan, seed
        self.sequence_length = plan.summary.sequence_length
        self.samples_per_epoch = plan.summary.rows

    @abstractmethod
    def batch(self, numbers: npt.NDArray[np.int64]) -> PackedBatch:
        """The samples with global `numbers` (B,): number // samples_per_epoch is the epoch. Costs O(B*T)."""

    def locate(self, numbers: npt.NDArray[np.int64]) -> list[list[Place]]:
        """For each of the samples `numbers` (B,), where in the dataset its tokens stand."""
        path, split = str(self.dataset.path), self.dataset.split
        return [[Place(path, split, *piece) for piece in self.plan.row(number)] for number in self.rows(numbers)]

    def rows(self, numbers: npt.NDArray[np.int64]) -> list[int]:
        """The plan's row of each of the samples `numbers` (B,)."""
        _, rows = shuffled(numbers, self.samples_per_epoch, self.seed)
        found: list[int] = rows.tolist()
        return found


class _PlannedRows:
    """Makes rows of a plan for a causal model. The end of a row that is not full holds zeros, whose targets are IGNORE
    and which are a piece of their own. Of a document's targets only those stay that `counted` names."""

    def __init__(self, dataset: Dataset, plan: Plan, document_mask: bool, counted: Counted | None) -> None:
        self._plan, self._mask, self._counted = plan, document_mask, counted
        self._length = plan.summary.sequence_length
        self._stream = TokenStream(dataset)

    def read(self, numbers: Sequence[int]) -> PackedBatch:
        """The plan's rows with these numbers (B,). Costs O(B*T)."""
        rows, length = len(numbers), self._length
        inputs = np.zeros((rows, length), np.int64)
        targets = np.full((rows, length), IGNORE, np.int64)
        read = np.empty(length + 1, np.int64)
        borders, filled = [], 0
        for row, number in enumerate(numbers):
            place = 0
            for start, count in self._plan.row(number):
                self._stream.read(start, read[: count + 1])
                inputs[row, place : place + count] = read[:count]
                wanted = read[1 : count + 1]
                if self._counted is not None:
                    wanted = np.where(self._counted(start + 1, count), wanted, IGNORE)
                targets[row, place : place + count] = wanted
                borders.append(row * length + place)
                place += count
            if place < length:
                borders.append(row * length + place)
            filled += place
        borders.append(rows * length)
        return PackedBatch(inputs, targets, np.array(borders, np.int32) if self._mask else None, filled=filled)


class PlannedSamples(RowsOfPlan):
    """Rows for a causal model, shuffled: every target of the plan is in every epoch once."""

    def __init__(
        self, dataset: Dataset, plan: Plan, seed: int, document_mask: bool = True, counted: Counted | None = None
    ) -> None:
        super().__init__(dataset, plan, seed)
        self._rows = _PlannedRows(dataset, plan, document_mask, counted)

    def batch(self, numbers: npt.NDArray[np.int64]) -> PackedBatch:
        """The samples with global `numbers` (B,): number // samples_per_epoch is the epoch. Costs O(B*T)."""
        return self._rows.read(self.rows(numbers))


class SequentialPlanned:
    """One full pass in the plan's order, for evaluation: every target of the plan once."""

    def __init__(
        self, dataset: Dataset, plan: Plan, document_mask: bool = True, counted: Counted | None = None
    ) -> None:
        self.plan, self.sequence_length = plan, plan.summary.sequence_length
        self._rows = _PlannedRows(dataset, plan, document_mask, counted)

    def __len__(self) -> int:
        """Number of rows."""
        return self.plan.summary.rows

    def batch(self, first: int, count: int) -> PackedBatch:
        """Rows `first` … `first + count - 1` (fewer at the end)."""
        return self._rows.read(range(first, min(first + count, len(self))))
