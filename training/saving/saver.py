"""What a run writes and when: its checkpoints, the best model, the final one. Written while the run goes on."""

from __future__ import annotations

import math
import sys
from typing import Any

from foundation.cli import describe_os_error
from foundation.errors import first_line
from foundation.logs import get_logger
from training.parts import Parts
from training.saving import checkpoint
from training.saving.background import BackgroundWriter
from training.saving.host_copy import HostCopy
from training.saving.model_card import model_card
from training.saving.model_output import save_model
from training.state import RunState

log = get_logger("training")


def save_at_once(parts: Parts, state: RunState) -> None:
    """Write a checkpoint of a run that is about to go on, in a directory that has none. Every rank calls it."""
    content = parts.snapshot.take(state)
    if parts.world.is_main:
        checkpoint.save(parts.directory.path, content, parts.training.keep_last)


class Saver:
    """Writes what belongs to `state`. Every rank calls the same methods; rank 0 writes.

    With `async_save`, the loop waits for a copy in memory only; a thread writes it. A write that fails (disk full) is
    raised by the next call of any method, with what was written before it intact.
    """

    def __init__(self, parts: Parts, state: RunState) -> None:
        self._parts, self._state = parts, state
        self._best_is_due = False
        self._writer, self._copy = BackgroundWriter(), HostCopy()

    def judge(self, measure: str, value: float, identity: str) -> None:
        """A validation of the data `identity` gave `value` of `measure`: when it is the lowest, best/ is due."""
        best = self._state.best
        if math.isfinite(value) and (best is None or best["validation"] != identity or value < best[measure]):
            self._state.best = {measure: value, "step": self._state.step, "validation": identity}
            self._best_is_due = True

    def write(self, checkpoint_is_due: bool) -> None:
        """Write the best model if it is due, and a checkpoint if it is. Returns as soon as the run may go on."""
        parts = self._parts
        best = self._best_is_due or (checkpoint_is_due and parts.validation is None)
        self._best_is_due = False
        self._writer.check()
        if not best and not checkpoint_is_due:
            return
        content = parts.snapshot.take(self._state) if checkpoint_is_due else parts.snapshot.take_model(self._state)
        if not parts.world.is_main:
            return
        if checkpoint_is_due:
            for logger in parts.loggers:
                logger.save()
        card = model_card(parts, self._state) if best else ""
        if not parts.training.async_save:
            self._write(content, card, checkpoint_is_due)
            return
        self._writer.wait()  # the copy's memory is in use until then
        copied = self._copy.take(content)
        self._writer.start(lambda: self._write(copied, card, checkpoint_is_due))

    def write_final(self) -> None:
        """Write the last model, and wait until it lies there."""
        parts = self._parts
        content = parts.snapshot.take_model(self._state)
        self._writer.wait()
        if parts.world.is_main:
            save_model(parts.directory.final, content, parts.task.data, model_card(parts, self._state))

    def wait(self) -> None:
        """Wait until everything lies on the disk."""
        self._writer.wait()

    def abandon(self) -> None:
        """The run ends by an error: let the running write finish; its own error is told, not raised."""
        try:
            self._writer.wait()
        except Exception as error:
            told = describe_os_error(error) if isinstance(error, OSError) else first_line(error)
            log.error("the last save failed as well: %s", told)

    def _write(self, content: dict[str, Any], card: str, checkpoint_is_due: bool) -> None:
        """With a `card`, the model is the best one."""
        directory = self._parts.directory
        if card:
            save_model(directory.best, content, self._parts.task.data, card)
        if checkpoint_is_due:
            training, known = self._parts.training, content["best"]
            best_step = known["step"] if known and training.keep_best else None
            # What was saved amid bad steps, because the run was stopped there, pushes no good checkpoint out.
            keep_last = sys.maxsize if content["state"]["bad_steps"] else training.keep_last
            checkpoint.save(directory.path, content, keep_last, best_step)
