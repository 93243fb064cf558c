"""What every kind of training samples offers: batches by number, the length of an epoch, and where a sample stands."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from shards.order import permute
from shards.token_stream import PackedBatch


class Place(NamedTuple):
    """A run of tokens in a split: `token` is the first one's position in the stream of the split's shards."""

    path: str
    split: str
    token: int
    tokens: int


class Samples(Protocol):
    """A pure function of global sample numbers."""

    @property
    def sequence_length(self) -> int:
        """Tokens in a row."""
        ...

    @property
    def samples_per_epoch(self) -> int:
        """Samples that show everything about once."""
        ...

    def batch(self, numbers: npt.NDArray[np.int64]) -> PackedBatch:
        """The samples with global `numbers` (B,), a row each."""
        ...

    def locate(self, numbers: npt.NDArray[np.int64]) -> list[list[Place]]:
        """For each of the samples `numbers` (B,), where its tokens come from."""
        ...


def shuffled(
    numbers: npt.NDArray[np.int64], per_epoch: int, seed: int | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The epoch of each sample (B,) and its place within it, permuted anew in each epoch unless `seed` is None."""
    epochs, places = numbers // per_epoch, numbers % per_epoch
    if seed is not None:
        for epoch in np.unique(epochs).tolist():
            mask = epochs == epoch
            places[mask] = permute(places[mask], per_epoch, seed, epoch)
    return epochs, places
