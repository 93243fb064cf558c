"""Task `mlm`: guess masked tokens (Devlin et al. 2019, arXiv 1810.04805), masked anew in each epoch.

B rows, T tokens a row, K places for masked tokens in a row, C width.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.base import LanguageModel
from model.encoder.heads import Heads
from shards.cutting import Texts
from shards.dataset import Dataset
from shards.framed import FramedSamples, SequentialFramed
from shards.packing_plan import Plan, open_plan
from shards.plan_place import cache_places
from shards.samples import Samples
from shards.token_stream import PackedBatch
from training.batching.batches import Microbatch, borders, check_inside
from training.batching.datasets import TrainingData
from training.config import DataConfig, TrainingConfig
from training.evaluation.evaluator import Rows
from training.tasks.base import LossModule
from training.tasks.encoder import EncoderTask
from training.tasks.masking import Masking

VALIDATION_SEED = 0
"""Seed of the masks in validations: one for all runs, so that their values are of the same masks."""


class MaskedLoss(LossModule):
    """The loss of an encoder at its masked positions, the only ones that its last block and its head compute."""

    def forward(self, inputs: Tensor, segments: Tensor, mlm_places: Tensor, mlm_targets: Tensor) -> Tensor:
        """inputs (B, T) int64, `segments` the borders of pieces, the masked places and what stood there (B*K,) int64,
        -100 in slots that no token uses. -> (1,)"""
        hidden = self.model(inputs, segments=segments, places=mlm_places)  # (B*K, C)
        nats: Tensor = self.model.mlm_loss(hidden, mlm_targets)  # type: ignore[operator]
        return torch.stack([nats])  # FSDP wants no view


class MlmTask(EncoderTask):
    """Masked tokens of packed texts."""

    name = "mlm"

    def __init__(self, data: TrainingData, data_config: DataConfig, training: TrainingConfig) -> None:
        super().__init__(data, data_config, training)
        self.masking = Masking(data.tokenizer, training, training.seed)

    @property
    def heads(self) -> Heads:
        """The head of masked tokens."""
        return Heads(mlm=True)

    def samples(self, dataset: Dataset, run_directory: Path) -> Samples:
        """Whole texts, packed."""
        return FramedSamples(dataset, self._plan(dataset, run_directory), self.training.seed, self.frame)

    def rows(self, dataset: Dataset, run_directory: Path) -> Rows:
        """Every token of every text once."""
        return SequentialFramed(dataset, self._plan(dataset, run_directory), self.frame)

    def microbatch(self, batch: PackedBatch, numbers: npt.NDArray[np.int64], validating: bool = False) -> Microbatch:
        """The tensors of `MaskedLoss.forward`."""
        tensors, predicted = self.masked(batch, numbers, validating)
        return Microbatch(tensors, (predicted,), self.real_tokens(batch.inputs))

    def masked(
        self, batch: PackedBatch, numbers: npt.NDArray[np.int64], validating: bool
    ) -> tuple[dict[str, Tensor], int]:
        """`inputs` with tokens hidden, `segments`, `mlm_places`, `mlm_targets`, and how many tokens are hidden."""
        check_inside(batch.inputs, self.data.vocab_size, self.data.where)
        found = self.masking.apply(batch.inputs, numbers, VALIDATION_SEED if validating else None)
        tensors = {
            "inputs": torch.from_numpy(found.inputs),
            "segments": borders(batch.pieces),
            "mlm_places": torch.from_numpy(found.places),
            "mlm_targets": torch.from_numpy(found.targets),
        }
        return tensors, found.predicted

    def loss_module(self, model: LanguageModel) -> LossModule:
        """The masked positions' loss."""
        return MaskedLoss(model)

    def validation_identity(self, dataset: Dataset) -> str:
        """And what is masked."""
        training = self.training
        share = f"{training.mlm_probability:g}/{training.mask_replace_prob:g}/{training.random_replace_prob:g}"
        return f"{super().validation_identity(dataset)}:{share}{':words' if training.whole_word_mask else ''}"

    @property
    def head_share(self) -> float:
        """The places for masked tokens."""
        return self.masking.capacity(self.length) / self.length

    def _plan(self, dataset: Dataset, run_directory: Path) -> Plan:
        places = cache_places(dataset.path, run_directory)
        return open_plan(dataset, self.length, places, self.reporter(dataset), Texts())
