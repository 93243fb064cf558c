"""What the trainer must know of a task: its samples, its tensors, its losses, its heads, and how it is judged.

Axes: B batch, T tokens a row, L losses of the task.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from foundation.logs import get_logger
from model.architectures import settled
from model.base import LanguageModel
from model.config import ModelConfig
from model.encoder.heads import Heads
from shards.dataset import Dataset
from shards.samples import Samples
from shards.token_stream import PackedBatch
from training.batching.batches import Microbatch
from training.batching.datasets import TrainingData
from training.config import DataConfig, TrainingConfig
from training.devices.distributed import World
from training.devices.precision import Precision
from training.evaluation.evaluator import Evaluator, Rows
from training.finetuning.init_from import InitialModel, initial_shape
from training.saving.run_directory import RunDirectory

log = get_logger("training")


class LossModule(nn.Module):
    """A model seen as the losses of a task: `forward(**tensors)` of a `Microbatch` gives the summed nats of each loss
    (L,), float32 at least.

    DDP, FSDP and torch.compile wrap this module's forward: whatever the model computes for a task, in a validation too,
    is computed inside it.
    """

    forward: Callable[..., Tensor]

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


class Task(ABC):
    """A task, made for the data and settings of a run. The constructor raises `UserError`, before any work, for what
    the data lack: a token role, labels, sentence borders."""

    name: ClassVar[str]
    """As `training.task` says it, and `mateconv.objective` of the models."""
    losses: ClassVar[tuple[str, ...]] = ("loss",)
    """Names of the losses. The step minimises the sum of their means; rows show each where there are several."""
    architectures: ClassVar[tuple[str, ...]]
    """What can be trained for the task; the first one where `model.architecture` is null."""

    def __init__(self, data: TrainingData, data_config: DataConfig, training: TrainingConfig) -> None:
        self.data, self.data_config, self.training = data, data_config, training
        self.length = data_config.max_seq_len
        self._start: InitialModel | None = None

    @property
    def heads(self) -> Heads | None:
        """What the model has on top of its hidden states; None for a decoder."""
        return None

    def model_config(self, config: ModelConfig, given: frozenset[str], saved: Mapping[str, Any] | None) -> ModelConfig:
        """The shape of the model to train, with its architecture named; `given` are the leaves that flags set, `saved`
        is the checkpoint that is continued.

        `UserError` for an architecture that the task does not train, and for settings that it lacks.
        """
        shape = initial_shape(self._initial(saved), config, given, saved, self.length)
        # A flag that asks for another shape than that of the weights has been refused by then.
        return settled(config, self.architectures, given) if shape is None else settled(shape, self.architectures, ())

    def initialise(self, model: LanguageModel) -> None:
        """Replace fresh weights (float32, on the CPU) of a run that begins, where it starts from another model."""
        if self._start is not None:
            self._start.put_into(model)
            self._start = None  # its weights need no memory any more

    def _initial(self, saved: Mapping[str, Any] | None) -> InitialModel | None:
        """The model that a fresh run starts from, read once."""
        path = self.training.init_from
        if path is not None and saved is None and self._start is None:
            self._start = InitialModel(path, self.data.tokenizer)
        return self._start

    @abstractmethod
    def samples(self, dataset: Dataset, run_directory: Path) -> Samples:
        """The training samples of one of the datasets; plans that are not there yet are made, beside the dataset or in
        `run_directory`. Every process calls it."""

    @abstractmethod
    def rows(self, dataset: Dataset, run_directory: Path) -> Rows:
        """One full pass over `dataset` in a fixed order, for validation; plans as in `samples`."""

    @abstractmethod
    def microbatch(self, batch: PackedBatch, numbers: npt.NDArray[np.int64], validating: bool = False) -> Microbatch:
        """The tensors of `batch`, whose rows are the samples with global `numbers` (B,): a pure function of both and
        the seed. In a validation they are numbers of rows, and chance depends on them alone, never on the seed.

        Called by the thread that prepares batches: numpy and CPU tensors. `UserError` for a token outside the
        vocabulary.
        """

    @abstractmethod
    def loss_module(self, model: LanguageModel) -> LossModule:
        """`model` as the losses of this task, in the order of `losses`."""

    def reporter(self, dataset: Dataset) -> Callable[[float], None]:
        """Tells people how far the packing of `dataset` is: it takes the share done."""

        def report(share: float) -> None:
            log.info("packing %s into rows of %d: %.0f%%", dataset.path, self.length, 100 * share)

        return report

    def evaluator(
        self, dataset: Dataset, run_directory: Path, batch_size: int, world: World, precision: Precision
    ) -> Evaluator:
        """What measures the model on `dataset`; its values by name, and which of them decides what is best."""
        return Evaluator(self, dataset, self.rows(dataset, run_directory), batch_size, world, precision)

    @abstractmethod
    def validation_identity(self, dataset: Dataset) -> str:
        """What is measured: the data and how they are cut. Values of other identities are not compared."""

    @abstractmethod
    def attended_length(self) -> float:
        """To how many tokens, itself included, a token of the training data attends on average."""

    @property
    def head_share(self) -> float:
        """The share of positions that the vocabulary's head computes."""
        return 1.0

    def provenance(self) -> dict[str, Any]:
        """What the `mateconv` key of the model's config.json says of the task (plain JSON data)."""
        return {"objective": self.name}

    def conclude(self, directory: RunDirectory, world: World, precision: Precision) -> None:
        """What a finished run adds to its directory, beside best/ and final/. Every rank calls it, and calls it again
        when a finished run is started again: it leaves what is there and whole."""
        return
