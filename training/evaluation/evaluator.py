"""Validation: the whole split, in order, the same numbers for any number of processes (up to rounding)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from shards.dataset import Dataset
from shards.token_stream import PackedBatch
from training.batching.batches import Microbatch
from training.devices.distributed import World
from training.devices.precision import Precision

if TYPE_CHECKING:
    from training.tasks.base import Task


class Rows(Protocol):
    """One full pass over a split, in a fixed order."""

    def __len__(self) -> int:
        """Number of rows."""
        ...

    def batch(self, first: int, count: int) -> PackedBatch:
        """Rows `first` … `first + count - 1` (fewer at the end)."""
        ...


class Evaluator:
    """The mean of each loss of a task, over all that it predicts in `rows` of `dataset`.

    A task that measures more than its losses overrides `measure` (what a batch adds to the sums) and `values` (what
    they amount to), and says in `deciding` which value is the one that best/ follows: lower is better.
    """

    deciding = "val_loss"

    def __init__(
        self, task: Task, dataset: Dataset, rows: Rows, batch_size: int, world: World, precision: Precision
    ) -> None:
        self.identity = task.validation_identity(dataset)
        self.batch_size = batch_size
        self.task, self.world, self.precision = task, world, precision
        self._rows = rows

    def __len__(self) -> int:
        """Rows of a validation."""
        return len(self._rows)

    @torch.no_grad()
    def run(self, module: nn.Module, interrupted: Callable[[], bool]) -> dict[str, float] | None:
        """The values by name; None when `interrupted` (asked before every batch, by all ranks alike) became true.

        Batches go round the ranks; sums are taken in float64. `module` is the task's LossModule.
        """
        totals: Tensor | None = None
        step = self.batch_size * self.world.size
        was_training = module.training
        module.eval()
        try:
            for start in range(0, len(self._rows), step):
                if interrupted():
                    return None
                first = start + self.world.rank * self.batch_size
                mine = first < len(self._rows)
                # With nothing left, a rank still computes: others may need its share of the weights.
                batch = self._batch(first if mine else 0)
                with self.precision.autocast():
                    sums = self.measure(module, batch)
                totals = torch.zeros_like(sums) if totals is None else totals
                totals += sums if mine else 0
        finally:
            module.train(was_training)
        assert totals is not None, "a validation without a single row"
        return dict(self.values(self.world.add_up_on_cpu(totals)))

    def measure(self, module: nn.Module, batch: Microbatch) -> Tensor:
        """What a batch adds to the sums: (2 L,) float64 on the CPU, the summed nats and what they were summed over."""
        summed: Tensor = module(**batch.to(self.precision.device))
        return torch.cat([summed.detach().cpu().double(), torch.tensor(batch.predicted, dtype=torch.float64)])

    def values(self, totals: Tensor) -> Mapping[str, float]:
        """`val_loss`, the sum of the mean losses, and each of them where there are several."""
        sums, counts = totals[: 2 * len(self.task.losses)].chunk(2)
        means = (sums / counts.clamp(min=1)).tolist()
        parts = dict(zip((f"val_{name}" for name in self.task.losses), means, strict=True)) if len(means) > 1 else {}
        return {"val_loss": sum(means), **parts}

    def _batch(self, first: int) -> Microbatch:
        packed = self._rows.batch(first, self.batch_size)
        numbers = np.arange(first, first + len(packed.inputs), dtype=np.int64)
        return self.task.microbatch(packed, numbers, validating=True)
