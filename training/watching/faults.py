"""Steps whose numbers are not finite: counted, named by their samples, and the end of a run that has too many."""

from __future__ import annotations

from foundation.logs import get_logger
from training.config import TrainingConfig
from training.state import RunState
from training.step import StepResult

log = get_logger("training")


class FaultWatch:
    """Keeps the account of skipped steps in `state`."""

    def __init__(self, config: TrainingConfig, state: RunState) -> None:
        self._config, self._state = config, state

    def account(self, result: StepResult, first: int) -> None:
        """Take note of the step that took the samples from `first` up to `state.sample`."""
        state = self._state
        if result.skipped:
            state.skipped += 1
            log.warning(
                "step %d skipped: loss %s, gradient norm %s (samples %d to %d)%s",
                state.step,
                result.loss,
                result.grad_norm,
                first,
                state.sample - 1,
                "; lowered float16's loss scale" if result.overflow else "",
            )
        state.bad_steps = state.bad_steps + 1 if result.skipped and not result.overflow else 0

    @property
    def hopeless(self) -> bool:
        """Whether so many steps in a row were bad that going on makes no sense."""
        return self._state.bad_steps >= self._config.max_bad_steps

    def explain(self) -> None:
        """Say why the run ends."""
        log.error(
            "stopped at step %d: %d steps in a row had a loss or gradient that is not finite. The checkpoints "
            "before them are intact. Look at the samples named above, or resume with a lower rate "
            "(--resume --allow_change learning_rate --learning_rate …)",
            self._state.step,
            self._state.bad_steps,
        )
