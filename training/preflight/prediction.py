"""What a run will take, said before its first step: parameters, tokens, steps, time, memory, disk."""

from __future__ import annotations

from dataclasses import dataclass

from foundation.page.wording import integer, seconds, size
from training.preflight.disk import DiskNeed

EVALUATION = 1 / 3
"""Time of a token in validation over its time in training: the forward pass alone."""


@dataclass(frozen=True)
class Prediction:
    """Figures of a run; `seconds`, `memory` and `limit` are measured by the trial step.

    `steps` are those still to do (None: the clock ends the run), `validations` how often and `validation_tokens` on how
    much a model is validated in them, the average of the weights being one of its own. `memory` is what one process
    took in the trial, `limit` what it may take.
    """

    parameters: int
    tokens_per_step: int
    steps: int | None
    seconds: float
    budget: float
    validations: int
    validation_tokens: int
    memory: int
    limit: int
    disk: DiskNeed

    @property
    def run_seconds(self) -> float:
        """Predicted time of the rest of the run, validations included."""
        if self.steps is None:
            return self.budget
        validation = self.validation_tokens * self.seconds * EVALUATION / self.tokens_per_step
        return self.steps * self.seconds + self.validations * validation

    def lines(self) -> list[str]:
        """For people."""
        speed = self.tokens_per_step / max(self.seconds, 1e-9)
        steps = self.steps if self.steps is not None else int(self.budget / max(self.seconds, 1e-9))
        return [
            f"one step of {integer(self.tokens_per_step)} tokens takes about {seconds(self.seconds)} "
            f"({integer(speed)} tokens/s)",
            f"{integer(steps)} steps to do, {integer(steps * self.tokens_per_step)} tokens: about "
            f"{seconds(self.run_seconds)}",
            f"memory: {size(self.memory)} of {size(self.limit)} a process; disk: a checkpoint of "
            f"{size(self.disk.checkpoint)}, {size(self.disk.added)} in all of {size(self.disk.free)} free",
        ]
