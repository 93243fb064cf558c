"""Training samples that follow a packing plan: each row holds whole documents, or a cut of one longer than a row.

B rows a batch, T tokens a row. A batch is a pure function of (seed, sample numbers).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from shards.dataset import Dataset
from shards.packing_plan import Plan
from shards.samples import Place, shuffled
from shards.token_stream import IGNORE, PackedBatch, TokenStream


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


class PlannedSamples(RowsOfPlan):
    """Rows for a causal model: every target of the split is in every epoch once. The end of a row that is not full
    holds zeros, whose targets are IGNORE and which are a piece of their own."""

    def __init__(self, dataset: Dataset, plan: Plan, seed: int, document_mask: bool = True) -> None:
        super().__init__(dataset, plan, seed)
        self._mask = document_mask
        self._stream = TokenStream(dataset)

    def batch(self, numbers: npt.NDArray[np.int64]) -> PackedBatch:
        """The samples with global `numbers` (B,): number // samples_per_epoch is the epoch. Costs O(B*T)."""
        rows, length = len(numbers), self.sequence_length
        inputs = np.zeros((rows, length), np.int64)
        targets = np.full((rows, length), IGNORE, np.int64)
        read = np.empty(length + 1, np.int64)
        borders = []
        for row, number in enumerate(self.rows(numbers)):
            place = 0
            for start, count in self.plan.row(number):
                self._stream.read(start, read[: count + 1])
                inputs[row, place : place + count] = read[:count]
                targets[row, place : place + count] = read[1 : count + 1]
                borders.append(row * length + place)
                place += count
            if place < length:
                borders.append(row * length + place)
        borders.append(rows * length)
        return PackedBatch(inputs, targets, np.array(borders, np.int32) if self._mask else None)
