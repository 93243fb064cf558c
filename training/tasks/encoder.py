"""What the tasks of encoders share: framed pieces in both directions, and what counts as a token.

B rows, T tokens a row.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from foundation.errors import UserError
from shards.dataset import Dataset
from shards.framing import SINGLE, Frame
from training.batching.datasets import TrainingData
from training.config import DataConfig, TrainingConfig
from training.tasks.base import Task
from training.throughput import attended_in_pieces


class EncoderTask(Task):
    """A task over rows of pieces `[CLS] … [SEP]` that never see each other (see `shards.framing`)."""

    architectures: ClassVar[tuple[str, ...]] = ("bert", "modernbert")
    framing: ClassVar[int] = SINGLE
    """Tokens of a piece that are no text."""

    def __init__(self, data: TrainingData, data_config: DataConfig, training: TrainingConfig) -> None:
        super().__init__(data, data_config, training)
        if not data_config.document_mask:
            raise UserError(
                f"document_mask false: task {self.name} reads each text by itself; leave --document_mask out"
            )
        tokenizer = data.tokenizer
        self.frame = Frame.of(tokenizer.roles, f"task {self.name}", tokenizer.where)

    def real_tokens(self, inputs: npt.NDArray[np.int64]) -> int:
        """How many of the tokens (B, T) are no padding."""
        return int(np.count_nonzero(inputs != self.frame.pad))

    def validation_identity(self, dataset: Dataset) -> str:
        """The data, the rows' length, the task."""
        return f"{dataset.identity}:{dataset.split}:{self.length}:{self.name}"

    def attended_length(self) -> float:
        """All of a token's piece, frame included."""
        return attended_in_pieces(self.data.train, self.length, self.framing)

    def provenance(self) -> dict[str, Any]:
        """Learned positions are trained up to `sequence_length` tokens."""
        return {**super().provenance(), "task": self.name, "sequence_length": self.length}
