"""Cut the token stream of a split into training samples: concatenate and chunk, document borders known.

B rows a batch, T tokens a row. A batch is a pure function of (seed, sample numbers).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foundation.errors import UserError
from foundation.streams import derive_seed
from shards.dataset import Dataset
from shards.samples import Place, shuffled
from shards.token_stream import IGNORE, PackedBatch, StreamRows

__all__ = ["IGNORE", "PackedBatch", "PackedSamples", "SequentialSamples"]


class PackedSamples:
    """Shuffled training samples. In each epoch the stream is cut from a small offset of its own, so that the tail that
    fills no whole sample in one epoch is seen in others."""

    def __init__(
        self, dataset: Dataset, sequence_length: int, seed: int, shuffle: bool = True, document_mask: bool = True
    ) -> None:
        self.dataset = dataset
        self.sequence_length = sequence_length
        self.seed = seed
        self.shuffle = shuffle
        self.samples_per_epoch = (dataset.tokens - 1) // sequence_length
        if self.samples_per_epoch < 1:
            raise UserError(
                f"{dataset.path}: split {dataset.split!r} has {dataset.tokens} tokens, fewer than the"
                f" {sequence_length + 1} that one sample takes; give more text or a smaller --max_seq_len"
            )
        self._rows = StreamRows(dataset, sequence_length, document_mask)

    def batch(self, numbers: npt.NDArray[np.int64]) -> PackedBatch:
        """The samples with global `numbers` (B,): number // samples_per_epoch is the epoch. Costs O(B*T)."""
        return self._rows.read(self._starts(numbers))

    def locate(self, numbers: npt.NDArray[np.int64]) -> list[list[Place]]:
        """For each of the samples `numbers` (B,), where in the dataset its tokens stand."""
        data, length = self.dataset, self.sequence_length
        return [[Place(str(data.path), data.split, start, length)] for start in self._starts(numbers).tolist()]

    def _starts(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        epochs, within = shuffled(numbers, self.samples_per_epoch, self.seed if self.shuffle else None)
        starts = within * self.sequence_length
        for epoch in np.unique(epochs).tolist():
            starts[epochs == epoch] += self._offset(epoch)
        return starts

    def _offset(self, epoch: int) -> int:
        """First token of the epoch's first sample. What an epoch leaves out is at most T tokens."""
        spare = self.dataset.tokens - 1 - self.samples_per_epoch * self.sequence_length
        return derive_seed(self.seed, "offset", epoch) % (spare + 1) if self.shuffle else 0


class SequentialSamples:
    """One full pass in order, for evaluation: every token but the first is a target exactly once (with a document mask
    and no terminator, every token but the first of each document). The last row is filled up with zeros whose targets
    are IGNORE."""

    def __init__(self, dataset: Dataset, sequence_length: int, document_mask: bool = True) -> None:
        self.sequence_length = sequence_length
        self.targets = max(0, dataset.tokens - 1)
        self._rows = StreamRows(dataset, sequence_length, document_mask)

    def __len__(self) -> int:
        """Number of rows."""
        return -(-self.targets // self.sequence_length)

    def batch(self, first: int, count: int) -> PackedBatch:
        """Rows `first` … `first + count - 1` (fewer at the end)."""
        stop = min(first + count, len(self))
        return self._rows.read(np.arange(first, stop, dtype=np.int64) * self.sequence_length)
