"""What a validation measures, and which of its numbers decides what is best."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from training.evaluation.evaluator import Evaluator


class Validation:
    """Full validations of a run's model.

    `identity` names the data and how they are cut: values of other identities are not compared. `deciding` is the key
    of the value that best/ follows.
    """

    deciding = "val_loss"

    def __init__(self, evaluator: Evaluator, module: nn.Module) -> None:
        self._evaluator, self._module = evaluator, module
        self.identity = evaluator.identity

    def run(self, interrupted: Callable[[], bool]) -> dict[str, float] | None:
        """The measured values by their metric's name; None when `interrupted` became true."""
        value = self._evaluator.run(self._module, interrupted)
        return None if value is None else {"val_loss": value}
