"""Task `chat`: predict what the assistant says, and where it ends, in whole conversations. The decoder's second task.

B rows, T tokens a row.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from foundation.errors import UserError
from foundation.logs import get_logger
from shards.conversations import Conversations, CountedTargets, has_conversations
from shards.dataset import Dataset
from shards.packing_plan import Plan, open_plan
from shards.plan_place import cache_places
from shards.planned import PlannedSamples, SequentialPlanned
from shards.samples import Samples
from shards.token_stream import PackedBatch
from tokenization.chat import CHATML
from training.batching.batches import IGNORED, Microbatch, borders, check_inside
from training.batching.datasets import TrainingData
from training.config import DataConfig, TrainingConfig
from training.evaluation.evaluator import Rows
from training.tasks.causal import CausalTask, next_tokens

log = get_logger("training")

MANY = 0.1
"""More than this share of the conversations left out is worth a warning."""


class ChatTask(CausalTask):
    """The assistant's turns of conversations, each conversation whole in one row."""

    name = "chat"

    def __init__(self, data: TrainingData, data_config: DataConfig, training: TrainingConfig) -> None:
        super().__init__(data, data_config, training)
        roles = data.tokenizer.roles
        for role in ("turn_start", "turn_end"):
            roles.require(role, "task chat", data.tokenizer.where)
        self._plain_text = training.chat_plain_text
        self._check_data()

    def samples(self, dataset: Dataset, run_directory: Path) -> Samples:
        """Conversations packed into rows, each in every epoch once."""
        plan, seed, mask = self._plan(dataset, run_directory), self.training.seed, self.data_config.document_mask
        self._tell_left_out(dataset)
        return PlannedSamples(dataset, plan, seed, mask, CountedTargets(dataset))

    def rows(self, dataset: Dataset, run_directory: Path) -> Rows:
        """The same conversations, in the plan's order."""
        plan, mask = self._plan(dataset, run_directory), self.data_config.document_mask
        return SequentialPlanned(dataset, plan, mask, CountedTargets(dataset))

    def microbatch(self, batch: PackedBatch, numbers: npt.NDArray[np.int64], validating: bool = False) -> Microbatch:
        """`inputs` and `targets` (B, T) int64, IGNORED where not the assistant speaks, and `segments` with a document
        mask. Nothing is left to chance."""
        assert batch.filled is not None
        for ids in (batch.inputs, batch.next_tokens):
            check_inside(ids, self.data.vocab_size, self.data.where)
        inputs, targets = torch.from_numpy(batch.inputs), torch.from_numpy(batch.next_tokens)
        segments = None if batch.segments is None else borders(batch.segments)
        predicted = int(np.count_nonzero(batch.next_tokens != IGNORED))
        return next_tokens(inputs, targets, predicted, segments, batch.filled)

    def validation_identity(self, dataset: Dataset) -> str:
        """And that answers are measured."""
        return f"{super().validation_identity(dataset)}:answers{'+text' if self._plain_text else ''}"

    def attended_length(self) -> float:
        """Back to the start of the conversation or of the row."""
        if not self.data_config.document_mask:
            return super().attended_length()
        portions = Conversations(self._plain_text).portions(self.data.train, self.length)
        lengths = np.concatenate([np.minimum(portion.lengths, self.length) for portion in portions])
        return float((lengths * (lengths + 1)).sum() / (2 * max(1, lengths.sum())))

    def provenance(self) -> dict[str, Any]:
        """It answers, in the form of the chat template that lies beside it."""
        return {**super().provenance(), "chat_trained": True}

    def _plan(self, dataset: Dataset, run_directory: Path) -> Plan:
        places = cache_places(dataset.path, run_directory)
        return open_plan(dataset, self.length, places, self.reporter(dataset), Conversations(self._plain_text))

    def _check_data(self) -> None:
        """`UserError` for data without conversations, and for a template that is not the form they were encoded in."""
        data = self.data
        bare = [dataset for dataset in data.datasets if not has_conversations(dataset)]
        if len(bare) == len(data.datasets) or (bare and not self._plain_text):
            remedy = "" if len(bare) == len(data.datasets) else ", or learn its text as well (--chat_plain_text true)"
            raise UserError(
                f"{bare[0].path}: holds no conversations for the task chat; make the dataset from records with "
                '`messages` ({"role", "content"} each; python -m pipeline.process --messages_field …)' + remedy
            )
        if data.tokenizer.chat_template != CHATML:
            raise UserError(
                f"{data.tokenizer.where}: its chat template is not the form in which the conversations of "
                f"{data.where} were encoded, and a model saved with it would be asked in another; leave "
                "--tokenizer_path out to use the dataset's own"
            )

    def _tell_left_out(self, dataset: Dataset) -> None:
        portions = list(Conversations().portions(dataset, self.length))
        left = sum(portion.cut for portion in portions)
        total = left + sum(len(portion.lengths) for portion in portions)
        if left > MANY * total:
            log.warning(
                "%s: %s of %s conversations are longer than max_seq_len %d and are left out; a larger --max_seq_len "
                "takes more of them",
                dataset.path, f"{left:,}", f"{total:,}", self.length,
            )  # fmt: skip
