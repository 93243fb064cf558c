"""Task `classify`: tell the label of each document, from the first token of its piece or the mean of all.

B rows, T tokens a row, N documents in a batch, L classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from foundation.errors import UserError
from foundation.logs import get_logger
from model.base import LanguageModel
from model.encoder.encoder import Encoder
from model.encoder.heads import Heads
from shards.cutting import LabelledTexts
from shards.dataset import Dataset
from shards.documents import NO_LABEL
from shards.framing import SINGLE
from shards.label_names import label_names
from shards.labelled import LabelledSamples, SequentialLabelled, label_counts
from shards.packing_plan import Plan, open_plan
from shards.plan_place import cache_places
from shards.samples import Samples
from shards.token_stream import PackedBatch
from tokenization.truncation import kept_spans
from training.batching.batches import IGNORED, Microbatch, borders, check_inside, padded
from training.batching.datasets import TrainingData
from training.config import DataConfig, TrainingConfig
from training.devices.distributed import World
from training.devices.precision import Precision
from training.evaluation.evaluator import Evaluator
from training.finetuning.conclusion import Judge, conclude, labelled_test
from training.finetuning.metrics import confusion, summary
from training.saving.run_directory import RunDirectory
from training.tasks.base import LossModule
from training.tasks.encoder import EncoderTask

log = get_logger("training")

LABELS_LISTED = 20


class ClassifyLoss(LossModule):
    """The encoder's classifier at the documents of a batch."""

    model: Encoder

    def forward(
        self, inputs: Tensor, segments: Tensor, class_places: Tensor, class_targets: Tensor, scores: bool = False
    ) -> Tensor:
        """The summed nats (1,) of the documents' labels, or with `scores` the logits (N, L); float32 at least.

        inputs (B, T) int64; `segments`, the borders of pieces; class_places (N,) int64, where in the flattened rows the
        documents begin; class_targets (N,) int64, IGNORED in the places that only fill up.
        """
        hidden = self.model(inputs, segments=segments)  # (B, T, C)
        logits = self.model.class_logits(hidden, class_places, segments)  # (N, L)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if scores:
            return logits
        nats = cross_entropy(logits, class_targets, ignore_index=IGNORED, reduction="sum")
        return torch.stack([nats])  # FSDP wants no view


def class_microbatch(batch: PackedBatch, vocab_size: int, where: str) -> Microbatch:
    """Tensors of a labelled batch. `UserError` for a token id outside the vocabulary, naming `where` it came from."""
    assert batch.labels is not None
    check_inside(batch.inputs, vocab_size, where)
    documents = np.flatnonzero(batch.labels != IGNORED)
    lengths = np.diff(batch.pieces)[documents]
    tensors = {
        "inputs": torch.from_numpy(batch.inputs),
        "segments": borders(batch.pieces),
        "class_places": padded(batch.pieces[documents].astype(np.int64), 0),
        "class_targets": padded(batch.labels[documents], IGNORED),
    }
    return Microbatch(tensors, (len(documents),), int(lengths.sum()))


def class_scores(module: torch.nn.Module, batch: Microbatch, device: torch.device) -> tuple[Tensor, Tensor]:
    """The logits (N, L) float64 and the labels (N,) int64 of a batch's documents, on the CPU."""
    logits: Tensor = module(**batch.to(device), scores=True)
    number = batch.predicted[0]
    return logits.detach()[:number].cpu().double(), batch.tensors["class_targets"][:number]


class ClassEvaluator(Evaluator):
    """Loss, accuracy, F1, precision and recall of a classifier; best/ follows the share of wrong answers."""

    deciding = "val_error"

    def measure(self, module: torch.nn.Module, batch: Microbatch) -> Tensor:
        """(2 + L * L,) float64: summed nats, documents, and the confusion matrix."""
        logits, labels = class_scores(module, batch, self.precision.device)
        nats = cross_entropy(logits, labels, reduction="sum")
        matrix = confusion(labels.numpy(), logits.argmax(dim=1).numpy(), logits.shape[1])
        return torch.cat([torch.stack([nats, torch.tensor(float(len(labels)), dtype=torch.float64)]),
                          torch.from_numpy(matrix).flatten().double()])  # fmt: skip

    def values(self, totals: Tensor) -> Mapping[str, float]:
        """`val_loss`, `val_error` (1 - accuracy) and the numbers of `training.finetuning.metrics.summary`."""
        nats, documents, *counts = totals.tolist()
        classes = round(len(counts) ** 0.5)
        found = summary(np.array(counts, np.int64).reshape(classes, classes))
        named = {f"val_{name}": value for name, value in found.items()}
        return {"val_loss": nats / max(1.0, documents), "val_error": 1 - found["accuracy"], **named}


class ClassifyTask(EncoderTask):
    """The labels of documents, each framed as `[CLS] text [SEP]` and shortened to what a row takes."""

    name = "classify"

    def __init__(self, data: TrainingData, data_config: DataConfig, training: TrainingConfig) -> None:
        super().__init__(data, data_config, training)
        splits = (*data.datasets, data.validation, labelled_test(data))
        self.labels = label_names([split for split in splits if split is not None])
        if len(self.labels) < 2:
            found = "no document has a label" if not self.labels else f"all documents have the label {self.labels[0]!r}"
            raise UserError(
                f"{data.where}: {found}, so there are no classes to tell apart; make the dataset from labelled records "
                "(the pipeline's --label_field and --labels)"
            )
        self._keep = partial(kept_spans, how=training.truncation)
        self._announce()

    @property
    def heads(self) -> Heads:
        """A classifier of the data's classes."""
        return Heads(labels=self.labels)

    def samples(self, dataset: Dataset, run_directory: Path) -> Samples:
        """Every labelled document once an epoch, packed into rows."""
        return LabelledSamples(dataset, self._plan(dataset, run_directory), self.training.seed, self.frame, self._keep)

    def rows(self, dataset: Dataset, run_directory: Path) -> SequentialLabelled:
        """Every labelled document once."""
        return SequentialLabelled(dataset, self._plan(dataset, run_directory), self.frame, self._keep)

    def microbatch(self, batch: PackedBatch, numbers: npt.NDArray[np.int64], validating: bool = False) -> Microbatch:
        """`inputs` (B, T), `segments`, `class_places` and `class_targets` (N,). Nothing is left to chance."""
        return class_microbatch(batch, self.data.vocab_size, self.data.where)

    def loss_module(self, model: LanguageModel) -> LossModule:
        """The classifier's cross-entropy."""
        return ClassifyLoss(model)

    def evaluator(
        self, dataset: Dataset, run_directory: Path, batch_size: int, world: World, precision: Precision
    ) -> ClassEvaluator:
        """Measures accuracy and its like beside the loss."""
        return ClassEvaluator(self, dataset, self.rows(dataset, run_directory), batch_size, world, precision)

    def validation_identity(self, dataset: Dataset) -> str:
        """The data, and how much of which end of a document is read."""
        return f"{super().validation_identity(dataset)}:{self.training.truncation}"

    def attended_length(self) -> float:
        """The mean length of the piece that a token stands in."""
        lengths = np.concatenate([
            shard.lengths[shard.records["label"] != NO_LABEL].astype(np.float64)
            for shard in self.data.train.shards if shard.records is not None
        ])  # fmt: skip
        pieces = np.clip(lengths - self.data.train.terminator_length, 0, self.length - SINGLE) + SINGLE
        return float((pieces**2).sum() / pieces.sum())

    @property
    def head_share(self) -> float:
        """No position's token is predicted."""
        return 0.0

    def provenance(self) -> dict[str, Any]:
        """What inference must do alike: what of a long text is read."""
        return {**super().provenance(), "truncation": self.training.truncation}

    def conclude(self, directory: RunDirectory, world: World, precision: Precision) -> None:
        """The temperature of best/ and final/, and how good the best model is on the validation and test splits."""
        conclude(self._judge(directory, world, precision), directory, self.data)

    def _judge(self, directory: RunDirectory, world: World, precision: Precision) -> Judge:
        batch_size = self.training.batch_size or 16

        def scores(model: LanguageModel, dataset: Dataset) -> tuple[Tensor, Tensor]:
            rows, module = self.rows(dataset, directory.path), self.loss_module(model)
            found = [(torch.zeros(0, len(self.labels), dtype=torch.float64), torch.zeros(0, dtype=torch.int64))]
            for first in range(world.rank * batch_size, len(rows), world.size * batch_size):
                batch = self.microbatch(rows.batch(first, batch_size), np.arange(first, first + batch_size), True)
                with torch.no_grad(), precision.autocast():
                    found.append(class_scores(module, batch, precision.device))
            return torch.cat([logits for logits, _ in found]), torch.cat([labels for _, labels in found])

        return Judge(self.labels, self.validation_identity, scores, world, precision.device)

    def _plan(self, dataset: Dataset, run_directory: Path) -> Plan:
        places = cache_places(dataset.path, run_directory)
        return open_plan(dataset, self.length, places, self.reporter(dataset), LabelledTexts())

    def _announce(self) -> None:
        counts = label_counts(self.data.train)
        listed = [f"{name} {counts.get(number, 0):,}" for number, name in enumerate(self.labels)][:LABELS_LISTED]
        more = f", and {len(self.labels) - LABELS_LISTED} more" if len(self.labels) > LABELS_LISTED else ""
        log.info("classes: %s%s", ", ".join(listed), more)
