"""The row of a logged step: what loggers get, with the speed since the row before."""

from __future__ import annotations

from collections.abc import Sequence

from training.loggers import Row
from training.state import RunState
from training.step import StepResult
from training.throughput import Throughput


class RowMaker:
    """Makes the rows of this process's steps. The clock counts steps only: no validation, no saving."""

    def __init__(self, state: RunState, throughput: Throughput, losses: Sequence[str] = ("loss",)) -> None:
        """`losses`: names of the task's losses, which have columns where there are several."""
        self._state, self._throughput = state, throughput
        self._losses = losses if len(losses) > 1 else ()
        self._seconds = 0.0  # of steps since the last row
        self._tokens = state.tokens  # at the last row
        self.busy = 0.0
        """Seconds of all steps of this process."""

    def count(self, seconds: float) -> None:
        """A step took `seconds`."""
        self._seconds += seconds
        self.busy += seconds

    def make(self, result: StepResult, rate: float, progress: float) -> Row:
        """The row of the step that has just been counted, which ran with learning rate `rate` at `progress`."""
        state = self._state
        speed = self._throughput.columns(state.tokens - self._tokens, self._seconds)
        self._tokens, self._seconds = state.tokens, 0.0
        row: Row = {
            "step": state.step,
            "tokens": state.tokens,
            "loss": result.loss,
            **dict(zip(self._losses, result.losses, strict=False)),
            "lr": rate,
            "progress": progress,
            "grad_norm": result.grad_norm,
            **speed,
        }
        if result.skipped:
            row["skipped"] = True
        return row
