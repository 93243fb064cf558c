"""Task `causal`: predict each next token. The decoder's task.

B rows, T tokens a row.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.base import LanguageModel
from shards.dataset import Dataset
from shards.packing import PackedSamples, SequentialSamples
from shards.packing_plan import open_plan
from shards.plan_place import cache_places
from shards.planned import PlannedSamples
from shards.samples import Samples
from shards.token_stream import PackedBatch
from training.batching.batches import IGNORED, Microbatch, borders, check_inside
from training.evaluation.evaluator import Rows
from training.tasks.base import LossModule, Task
from training.throughput import mean_attended_length


class CausalLoss(LossModule):
    """The decoder's loss at every position."""

    def forward(self, inputs: Tensor, targets: Tensor, segments: Tensor | None = None) -> Tensor:
        """inputs, targets (B, T) int64; `segments`, the borders of documents, where attention stops at them. -> (1,)"""
        nats: Tensor = self.model.loss(inputs, targets, segments)[0]  # type: ignore[operator]
        return torch.stack([nats])  # FSDP wants no view


def next_tokens(
    inputs: Tensor, targets: Tensor, predicted: int, segments: Tensor | None = None, tokens: int | None = None
) -> Microbatch:
    """What the loss takes, with `predicted` targets that are not ignored (see `CausalLoss.forward`), of `tokens` tokens
    that are read where not each of them has a target."""
    tensors = {"inputs": inputs, "targets": targets}
    if segments is not None:
        tensors["segments"] = segments
    return Microbatch(tensors, (predicted,), predicted if tokens is None else tokens)


class CausalTask(Task):
    """Next tokens of packed documents, or of the stream as it is."""

    name = "causal"
    architectures = ("llama",)

    def samples(self, dataset: Dataset, run_directory: Path) -> Samples:
        """Rows cut from the stream (`packing: concat`) or filled with whole documents (`best_fit`)."""
        config = self.data_config
        if config.packing == "concat":
            return PackedSamples(dataset, self.length, self.training.seed, document_mask=config.document_mask)
        plan = open_plan(dataset, self.length, cache_places(dataset.path, run_directory), self.reporter(dataset))
        return PlannedSamples(dataset, plan, self.training.seed, config.document_mask)

    def rows(self, dataset: Dataset, run_directory: Path) -> Rows:
        """The stream cut into rows, every token but the first a target once."""
        return SequentialSamples(dataset, self.length, self.data_config.document_mask)

    def microbatch(self, batch: PackedBatch, numbers: npt.NDArray[np.int64], validating: bool = False) -> Microbatch:
        """`inputs` and `targets` (B, T) int64 and, with a document mask, `segments`. Nothing is left to chance."""
        assert batch.targets is not None
        for ids in (batch.inputs, batch.targets):
            check_inside(ids, self.data.vocab_size, self.data.where)
        inputs, targets = torch.from_numpy(batch.inputs), torch.from_numpy(batch.targets)
        segments = None if batch.segments is None else borders(batch.segments)
        return next_tokens(inputs, targets, int(np.count_nonzero(batch.targets != IGNORED)), segments)

    def loss_module(self, model: LanguageModel) -> LossModule:
        """The decoder's own loss."""
        return CausalLoss(model)

    def validation_identity(self, dataset: Dataset) -> str:
        """The data, the rows' length, and whether documents see each other."""
        apart = ":documents" if self.data_config.document_mask else ""
        return f"{dataset.identity}:{dataset.split}:{self.length}{apart}"

    def attended_length(self) -> float:
        """Back to the start of the document or of the row."""
        return mean_attended_length(self.data.train, self.length, self.data_config.document_mask)

    def provenance(self) -> dict[str, Any]:
        """For whoever writes with it: does it know turns of a chat, what stood before documents, how long were rows."""
        manifest = self.data.train.manifest
        return {
            **super().provenance(),
            "chat_trained": False,
            "terminator": manifest.terminator if manifest else [],
            "sequence_length": self.length,
        }
