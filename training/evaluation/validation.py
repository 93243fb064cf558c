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
    `measure` is what best/ follows, lower is better; `deciding` its key: the average's where there is one.
    """

    def __init__(self, evaluator: Evaluator, module: nn.Module, average: WeightAverage | None = None) -> None:
        self._evaluator, self._module, self._average = evaluator, module, average
        self.measure = evaluator.deciding
        self.deciding = self.measure if average is None else f"{self.measure}_ema"
        self.identity = evaluator.identity if average is None else f"{evaluator.identity}:ema"

    def run(self, interrupted: Callable[[], bool]) -> dict[str, float] | None:
        """The measured values by their metric's name, those of the average with `_ema` behind it; None when
        `interrupted` became true."""
        values = self._evaluator.run(self._module, interrupted)
        if values is None or self._average is None:
            return values
        with self._average.in_place():
            averaged = self._evaluator.run(self._module, interrupted)
        if averaged is None:
            return None
        return {**values, **{f"{name}_ema": value for name, value in averaged.items()}}

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
