"""Weights & Biases. The library is imported only when it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from foundation.errors import UserError
from training.config import LoggingConfig
from training.loggers import Row


class WandbLogger:
    """Sends rows to a Weights & Biases run; `run_id` is the one to continue, or None for a new one.

    Offline, everything lies in `directory`/wandb for a later `wandb sync`.
    """

    def __init__(self, config: LoggingConfig, directory: Path, run_id: str | None, settings: dict[str, Any]) -> None:
        try:
            import wandb
        except ImportError:
            raise UserError("use_wandb: the package is not installed; pip install wandb, or leave it out") from None
        try:
            self._run = wandb.init(
                project=config.wandb_project,
                mode=config.wandb_mode,
                dir=str(directory),
                id=run_id,
                resume="allow" if run_id else None,
                config=settings,
                settings=wandb.Settings(silent=True),
            )
        except wandb.errors.Error as error:
            raise UserError(
                f"Weights & Biases could not start ({error}); run `wandb login`, or use --wandb_mode offline"
            ) from None

    @property
    def run_id(self) -> str:
        """What a resumed run passes to continue this one."""
        return str(self._run.id)

    def log(self, row: Row) -> None:
        """One step's numbers."""
        self._run.log({key: value for key, value in row.items() if key != "step"}, step=row["step"])

    def save(self) -> None:
        """The library writes as it goes."""

    def close(self) -> None:
        """Upload or write what is left."""
        self._run.finish()
