"""A classifier's samples: one framed piece for each document that has a label, shortened to what a row takes, packed
into rows by a plan (`shards.cutting.LabelledTexts`).

B rows a batch, T tokens a row. A batch is a pure function of (seed, sample numbers).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from shards.dataset import Dataset
from shards.documents import NO_LABEL
from shards.framing import SINGLE, Frame, FramedRows
from shards.packing_plan import Plan
from shards.planned import RowsOfPlan
from shards.samples import Place
from shards.token_stream import PackedBatch

Keep = Callable[[int, int], Sequence[tuple[int, int]]]
"""Which spans [start, stop) of a text of so many tokens stay in so much room, in order (`tokenization.truncation`)."""


class _LabelledRows:
    """Makes rows of a plan: `[CLS] text [SEP]` and a label for each of its documents."""

    def __init__(self, dataset: Dataset, plan: Plan, frame: Frame, keep: Keep) -> None:
        self._dataset, self._plan, self._frame, self._keep = dataset, plan, frame, keep
        self._room = plan.summary.sequence_length - SINGLE

    def spans(self, document: int) -> list[tuple[int, int]]:
        """The spans of the document's tokens that stay."""
        length = max(0, len(self._dataset.document(document)) - self._dataset.terminator_length)
        return list(self._keep(length, self._room))

    def read(self, rows: Sequence[int]) -> PackedBatch:
        framed = FramedRows(len(rows), self._room + SINGLE, self._frame, labels=True)
        for row, number in enumerate(rows):
            for document, length in self._plan.row(number):
                tokens, spans = self._dataset.document(document), self.spans(document)
                label = int(self._dataset.record(document)["label"])
                text = framed.single(row, length, label)
                np.concatenate([tokens[first:stop] for first, stop in spans], out=text, casting="same_kind")
        return framed.batch()


class LabelledSamples(RowsOfPlan):
    """Training samples: every labelled document is in every epoch once."""

    def __init__(self, dataset: Dataset, plan: Plan, seed: int, frame: Frame, keep: Keep) -> None:
        super().__init__(dataset, plan, seed)
        self._labelled = _LabelledRows(dataset, plan, frame, keep)

    def batch(self, numbers: npt.NDArray[np.int64]) -> PackedBatch:
        """The samples with global `numbers` (B,): number // samples_per_epoch is the epoch. Costs O(B*T)."""
        return self._labelled.read(self.rows(numbers))

    def locate(self, numbers: npt.NDArray[np.int64]) -> list[list[Place]]:
        """For each of the samples `numbers` (B,), where in the dataset its tokens stand."""
        return [[place for number, _ in self.plan.row(row) for place in self._places(number)]
                for row in self.rows(numbers)]  # fmt: skip

    def _places(self, document: int) -> list[Place]:
        path, split = str(self.dataset.path), self.dataset.split
        begin = self.dataset.document_start(document)
        return [Place(path, split, begin + first, stop - first) for first, stop in self._labelled.spans(document)]


class SequentialLabelled:
    """One full pass in the plan's order, for evaluation: every labelled document once."""

    def __init__(self, dataset: Dataset, plan: Plan, frame: Frame, keep: Keep) -> None:
        self.plan, self.sequence_length = plan, plan.summary.sequence_length
        self._labelled = _LabelledRows(dataset, plan, frame, keep)

    def __len__(self) -> int:
        """Number of rows."""
        return self.plan.summary.rows

    def batch(self, first: int, count: int) -> PackedBatch:
        """Rows `first` … `first + count - 1` (fewer at the end)."""
        return self._labelled.read(range(first, min(first + count, len(self))))

    def documents(self, first: int, count: int) -> list[int]:
        """The documents of these rows, in the order of their labels in the batch (padding has none)."""
        rows = range(first, min(first + count, len(self)))
        return [document for row in rows for document, _ in self.plan.row(row)]


def label_counts(dataset: Dataset) -> dict[int, int]:
    """How many documents of a split have each label, by label; those without are left out. Reads the records alone."""
    counts: dict[int, int] = {}
    for shard in dataset.shards:
        if shard.records is None:
            continue
        labels, numbers = np.unique(shard.records["label"], return_counts=True)
        for label, number in zip(labels.tolist(), numbers.tolist(), strict=True):
            if label != NO_LABEL:
                counts[label] = counts.get(label, 0) + number
    return dict(sorted(counts.items()))
