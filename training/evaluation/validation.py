"""What a validation measures, and which of its numbers decides what is best."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from torch import nn

from training.evaluation.evaluator import Evaluator
from training.optimization.weight_average import WeightAverage


class Validation:
    """Full validations of a run's model, and of the average of its weights where one is kept.

    `identity` names what is measured, the data and how they are cut: values of other identities are not compared.
    `deciding` is the key of the value that best/ follows: the average's where there is one.
    """

    def __init__(self, evaluator: Evaluator, module: nn.Module, average: WeightAverage | None = None) -> None:
        self._evaluator, self._module, self._average = evaluator, module, average
        self.deciding = "val_loss" if average is None else "val_loss_ema"
        self.identity = evaluator.identity if average is None else f"{evaluator.identity}:ema"

    def run(self, interrupted: Callable[[], bool]) -> dict[str, float] | None:
        """The measured values (nats a token) by their metric's name; None when `interrupted` became true."""
        value = self._evaluator.run(self._module, interrupted)
        if value is None or self._average is None:
            return None if value is None else {"val_loss": value}
        with self._average.in_place():
            averaged = self._evaluator.run(self._module, interrupted)
        return None if averaged is None else {"val_loss": value, "val_loss_ema": averaged}

    @property
    def rows(self) -> int:
        """Rows that go through the model at a time; the values depend on them by rounding only."""
        return self._evaluator.batch_size

    @rows.setter
    def rows(self, number: int) -> None:
        self._evaluator.batch_size = number

    def deciding_weights(self) -> AbstractContextManager[None]:
        """Inside, the model holds the weights that `deciding` measures; every rank enters it."""
        return nullcontext() if self._average is None else self._average.in_place()
