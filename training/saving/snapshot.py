"""The content of a checkpoint: everything a run is, taken from and put back into its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundation.errors import UserError
from foundation.logs import get_logger
from model.base import LanguageModel
from training.batching.datasets import TrainingData
from training.config import TrainingConfig
from training.devices.precision import Precision
from training.devices.strategy import Strategy
from training.optimization.optimizer import same_groups, set_hyperparameters
from training.optimization.optimizers import Optimizers
from training.optimization.weight_average import WeightAverage
from training.saving.model_output import provenance
from training.saving.resume import Identity
from training.state import RunState
from training.tasks.base import LossModule, Task

log = get_logger("training")


@dataclass(frozen=True)
class Snapshot:
    """The parts of a run whose state a checkpoint holds."""

    task: Task
    module: LossModule
    """The model as the losses of the task; neither compiled nor spread over ranks."""
    optimizers: Optimizers
    strategy: Strategy
    precision: Precision
    identity: Identity
    average: WeightAverage | None = None

    @property
    def model(self) -> LanguageModel:
        """The model itself."""
        model = self.module.model
        assert isinstance(model, LanguageModel)
        return model

    @property
    def data(self) -> TrainingData:
        """What it is trained on."""
        return self.task.data

    def take_model(self, state: RunState) -> dict[str, Any]:
        """The part of a checkpoint that a model directory is made from. Every rank calls it.

        The tensors are the live ones: copy or write them before the next step.
        """
        average = {}
        if self.average is not None:
            average = {"ema": self.average.state(self.strategy.whole(self.average.weights))}
        return {
            **average,
            "model": self.strategy.model_state(self.model),
            "model_config": self.model.config.model_dump(mode="json"),
            "vocab_size": self.identity.vocab_size,
            "heads": self.identity.heads,
            "mateconv": provenance(self.task, state, self.identity.config["logging"].get("license")),
        }

    def take(self, state: RunState) -> dict[str, Any]:
        """Plain values and float32 tensors, live as those of `take_model`. Every rank calls it.

        No generator state is needed: every draw is a function of the seed and the step.
        """
        return {
            **self.take_model(state),
            "step": state.step,
            "tokens": state.tokens,
            "sample": state.sample,
            "best": state.best,
            "state": state.to_dict(),
            "optimizer": self.strategy.optimizer_state(self.model, self.optimizers),
            "scaler": self.precision.scaler.state_dict(),
            "rng": {"seed": self.identity.config["training"]["seed"]},
            "config": {name: dict(section) for name, section in self.identity.config.items()},
            "dataset": self.identity.dataset,
            "plan": self.identity.plan,
            "tokenizer": self.identity.tokenizer,
            "global_batch": self.identity.global_batch,
            "tokenizer_files": self.data.tokenizer.files(),
        }

    def restore(self, saved: Mapping[str, Any], path: Path, config: TrainingConfig) -> RunState:
        """Put `saved` (from `path`) into the parts; gives the run's state.

        `UserError` when the weights do not fit: an architecture that was allowed to change but cannot.
        """
        try:
            self.strategy.load_model_state(self.model, saved["model"])
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise UserError(
                f"{path}: its weights do not fit the model settings ({reason}); use the saved ones"
            ) from None
        if same_groups(saved["config"]["training"], config):
            self.strategy.load_optimizer_state(self.model, self.optimizers, saved["optimizer"])
            set_hyperparameters(self.optimizers, config)
        else:
            log.warning("%s: the state of its optimizer does not fit the changed settings; moments begin anew", path)
        if self.average is not None:
            self._restore_average(self.average, saved, path)
        self.precision.set_scale(saved["scaler"])
        return RunState(**saved["state"])

    def _restore_average(self, average: WeightAverage, saved: Mapping[str, Any], path: Path) -> None:
        """Put the saved average back, or let it begin with the weights where `saved` has none."""
        if "ema" not in saved:
            log.warning("%s holds no average of the weights: it begins with those of step %d", path, saved["step"])
            average.restart()
            return
        self.strategy.put(average.weights, saved["ema"]["weights"])
        average.updates = saved["ema"]["updates"]
