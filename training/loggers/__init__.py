"""What a run tells people and programs. One logger a file; each gets the same rows.

`Logger` is the interface: add a file with a class that has these methods and name it in `training/run.py`.
"""

from __future__ import annotations

from typing import Any, Protocol

Row = dict[str, Any]
"""One logged step: `step`, `tokens`, `loss`, `lr`, `grad_norm`, `tokens_per_second`, `val_loss` where
measured, …"""


class Logger(Protocol):
    """Receives every logged step in order, and a call before each checkpoint and at the end."""

    def log(self, row: Row) -> None:
        """Take one row."""
        ...

    def save(self) -> None:
        """Make everything durable or visible; called before a checkpoint is written."""
        ...

    def close(self) -> None:
        """The run ends, for whatever reason."""
        ...
