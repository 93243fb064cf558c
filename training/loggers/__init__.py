"""What a run tells people and programs. One logger a file; each gets the same rows, events and samples.

`Logger` is the interface: add a file with a subclass that overrides what concerns it, and name it in
`training/loggers/choose.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]
"""One logged step: `step`, `tokens`, `loss`, `lr`, `progress`, `grad_norm`, `tokens_per_second`, `val_loss` where
measured, …"""

Event = dict[str, Any]
"""Something that happened to the run: `event` (its kind), `step`, and plain values that belong to it."""

Sample = dict[str, str]
"""A text that the model wrote: `prompt` and `text`, what it added."""


class Logger:
    """Receives every logged step in order, what happens besides, and a call at the start, before each checkpoint and at
    the end."""

    def begin(self) -> None:
        """The run begins; everything else comes after this, only `close` may come without it."""

    def log(self, row: Row) -> None:
        """Take one row."""

    def note(self, event: Event) -> None:
        """Something happened."""

    def show(self, step: int, samples: Sequence[Sample]) -> None:
        """The model wrote `samples` after `step`."""

    def save(self) -> None:
        """Make everything durable or visible; called before a checkpoint is written. It must not take long."""

    def close(self) -> None:
        """The run ends, for whatever reason."""
