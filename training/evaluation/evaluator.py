"""Validation: the whole split, in order, the same numbers for any number of processes (up to rounding)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from shards.dataset import Dataset
from shards.packing import SequentialSamples
from training.batching.batches import to_microbatch
from training.devices.distributed import World
from training.devices.precision import Precision


class Evaluator:
    """Mean loss (nats a token) over every token of `dataset` but its first, rows of `sequence_length`; with
    `document_mask` the documents in a row don't see each other."""

    def __init__(
        self,
        dataset: Dataset,
        sequence_length: int,
        batch_size: int,
        vocab_size: int,
        world: World,
        precision: Precision,
        document_mask: bool = True,
    ) -> None:
        apart = ":documents" if document_mask else ""
        self.identity = f"{dataset.identity}:{dataset.split}:{sequence_length}{apart}"
        self._samples = SequentialSamples(dataset, sequence_length, document_mask)
        self.batch_size = batch_size
        self._vocab_size = vocab_size
        self._where = str(dataset.path)
        self._world, self._precision = world, precision

    @torch.no_grad()
    def run(self, model: nn.Module, interrupted: Callable[[], bool]) -> float | None:
        """Validation loss; None when `interrupted` (asked before every batch, by all ranks alike) became
        true.

        Batches go round the ranks; sums are taken in float64. `model(inputs, targets, segments)` gives
        (summed loss, count).
        """
        totals = torch.zeros(2, dtype=torch.float64)
        step = self.batch_size * self._world.size
        was_training = model.training
        model.eval()
        try:
            for start in range(0, len(self._samples), step):
                if interrupted():
                    return None
                first = start + self._world.rank * self.batch_size
                mine = first < len(self._samples)
                # With nothing left, a rank still computes: others may need its share of the weights.
                values = self._batch(model, first if mine else 0)
                totals += values if mine else 0
        finally:
            model.train(was_training)
        self._world.add_up_on_cpu(totals)
        return float(totals[0] / totals[1])

    def _batch(self, model: nn.Module, first: int) -> torch.Tensor:
        batch = self._samples.batch(first, self.batch_size)
        micro = to_microbatch(batch, self._vocab_size, self._where, pin=False)
        with self._precision.autocast():
            loss, count = model(*micro.to(self._precision.device))
        return torch.stack([loss.detach().cpu().double(), count.cpu().double()])
