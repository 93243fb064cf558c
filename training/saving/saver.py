"""What a run writes and when: its checkpoints, the best model, the final one."""

from __future__ import annotations

import math

from training.parts import Parts
from training.saving import checkpoint
from training.saving.model_output import save_model
from training.state import RunState


class Saver:
    """Writes what belongs to `state`. Every rank calls the same methods; rank 0 writes."""

    def __init__(self, parts: Parts, state: RunState) -> None:
        self._parts, self._state = parts, state
        self._best_is_due = False

    def judge(self, value: float, identity: str) -> None:
        """A validation of the data `identity` gave `value`: when it is the best one, best/ is due."""
        best = self._state.best
        if math.isfinite(value) and (best is None or best["validation"] != identity or value < best["val_loss"]):
            self._state.best = {"val_loss": value, "step": self._state.step, "validation": identity}
            self._best_is_due = True

    def write(self, checkpoint_is_due: bool) -> None:
        """Write the best model if it is due, and a checkpoint if it is."""
        parts = self._parts
        best = self._best_is_due or (checkpoint_is_due and parts.validation is None)
        self._best_is_due = False
        if not parts.world.is_main:
            return
        if best:
            save_model(parts.directory.best, parts.snapshot.model, parts.data, self._state)
        if checkpoint_is_due:
            for logger in parts.loggers:
                logger.save()
            checkpoint.save(parts.directory.path, parts.snapshot.take(self._state), parts.training.keep_last)

    def write_final(self) -> None:
        """Write the last model."""
        parts = self._parts
        if parts.world.is_main:
            save_model(parts.directory.final, parts.snapshot.model, parts.data, self._state)
