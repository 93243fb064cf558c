"""Task `mlm_nsp`: BERT's own pretraining, masked tokens and whether B follows A (Devlin et al. 2019, arXiv 1810.04805).

B rows, T tokens a row, K places for masked tokens in a row, P pairs, C width.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from model.base import LanguageModel
from model.encoder.heads import Heads
from shards.dataset import Dataset
from shards.framing import PAIR
from shards.packing_plan import Plan, open_plan
from shards.pairs import PairSamples, SequentialPairs
from shards.pairs_plan import SentenceChunks, check_sentences
from shards.plan_place import cache_places
from shards.samples import Samples
from shards.token_stream import PackedBatch
from training.batching.batches import IGNORED, Microbatch, padded
from training.batching.datasets import TrainingData
from training.config import DataConfig, TrainingConfig
from training.devices.distributed import World
from training.devices.precision import Precision
from training.evaluation.evaluator import Evaluator, Rows
from training.tasks.base import LossModule
from training.tasks.mlm import MlmTask


class PairLoss(LossModule):
    """The losses of an encoder at its masked positions, and at the first tokens of its pairs."""

    def forward(
        self,
        inputs: Tensor,
        segments: Tensor,
        token_types: Tensor,
        mlm_places: Tensor,
        mlm_targets: Tensor,
        nsp_places: Tensor,
        nsp_targets: Tensor,
        count_right: bool = False,
    ) -> Tensor:
        """inputs and token_types (B, T) int64, `segments` the borders of pieces, the masked places and what stood there
        (B*K,), the pairs' first places and 0 where B follows, 1 where it is random (P,) int64; -100 in slots that
        nothing uses. -> (2,), with `count_right` (3,): and of how many pairs the likelier label is theirs."""
        places = torch.cat([mlm_places, nsp_places])
        hidden = self.model(inputs, segments=segments, token_types=token_types, places=places)  # (B*K + P, C)
        hidden_tokens, first = hidden.split([len(mlm_places), len(nsp_places)])
        masked: Tensor = self.model.mlm_loss(hidden_tokens, mlm_targets)  # type: ignore[operator]
        logits: Tensor = self.model.nsp_logits(first)  # type: ignore[operator]  # (P, 2)
        random = cross_entropy(logits.float(), nsp_targets, ignore_index=IGNORED, reduction="sum")
        if not count_right:
            return torch.stack([masked, random])
        right = (logits.argmax(dim=1) == nsp_targets).sum()  # never where the target is -100
        return torch.stack([masked, random, right.to(random.dtype)])


class PairEvaluator(Evaluator):
    """Both losses, and for how many pairs the model says rightly whether B follows A."""

    def measure(self, module: nn.Module, batch: Microbatch) -> Tensor:
        """(5,) float64: summed nats of the losses, what they were summed over, and the pairs that are right."""
        *nats, right = module(**batch.to(self.precision.device), count_right=True).detach().cpu().double()
        return torch.stack([*nats, *torch.tensor(batch.predicted, dtype=torch.float64), right])

    def values(self, totals: Tensor) -> Mapping[str, float]:
        """And `val_nsp_accuracy`, the share of pairs that are right."""
        right, pairs = totals[-1], totals[-2].clamp(min=1)
        return {**super().values(totals[:-1]), "val_nsp_accuracy": float(right / pairs)}


class MlmNspTask(MlmTask):
    """Masked tokens of packed pairs of texts, and whether the second follows the first."""

    name = "mlm_nsp"
    losses = ("mlm_loss", "nsp_loss")
    architectures = ("bert",)
    framing = PAIR

    def __init__(self, data: TrainingData, data_config: DataConfig, training: TrainingConfig) -> None:
        super().__init__(data, data_config, training)
        for dataset in (*data.datasets, *([data.validation] if data.validation else [])):
            check_sentences(dataset)

    @property
    def heads(self) -> Heads:
        """The heads of masked tokens and of pairs."""
        return Heads(mlm=True, nsp=True)

    def samples(self, dataset: Dataset, run_directory: Path) -> Samples:
        """Pairs of texts, packed; each time a chunk comes up it is cut anew."""
        return PairSamples(dataset, self._plan(dataset, run_directory), self.training.seed, self.frame)

    def rows(self, dataset: Dataset, run_directory: Path) -> Rows:
        """Each chunk of sentences once; the pairs of every validation are the same."""
        return SequentialPairs(dataset, self._plan(dataset, run_directory), self.frame)

    def microbatch(self, batch: PackedBatch, numbers: npt.NDArray[np.int64], validating: bool = False) -> Microbatch:
        """The tensors of `PairLoss.forward`."""
        tensors, predicted = self.masked(batch, numbers, validating)
        assert batch.token_types is not None and batch.labels is not None
        paired = np.flatnonzero(batch.labels != IGNORED)
        tensors |= {
            "token_types": torch.from_numpy(batch.token_types),
            "nsp_places": padded(batch.pieces[paired].astype(np.int64), 0),
            "nsp_targets": padded(batch.labels[paired], IGNORED),
        }
        return Microbatch(tensors, (predicted, len(paired)), self.real_tokens(batch.inputs))

    def evaluator(
        self, dataset: Dataset, run_directory: Path, batch_size: int, world: World, precision: Precision
    ) -> PairEvaluator:
        """Both losses and the accuracy for pairs; best/ follows the sum of the losses."""
        return PairEvaluator(self, dataset, self.rows(dataset, run_directory), batch_size, world, precision)

    def loss_module(self, model: LanguageModel) -> LossModule:
        """Both losses."""
        return PairLoss(model)

    def _plan(self, dataset: Dataset, run_directory: Path) -> Plan:
        places = cache_places(dataset.path, run_directory)
        return open_plan(dataset, self.length, places, self.reporter(dataset), SentenceChunks())
