"""TensorBoard. The library is imported only when it is used."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from foundation.errors import UserError, first_line
from training.loggers import Logger, Row, Sample


class TensorBoardLogger(Logger):
    """Writes rows and samples to `directory`. A run that continues at `step` hides what a killed one wrote after it.
    `UserError` without the package."""

    def __init__(self, directory: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter  # slow to import
        except ImportError as error:
            raise UserError(
                f"use_tensorboard: the package cannot be loaded ({first_line(error)}); pip install tensorboard, or "
                "leave it out"
            ) from None
        self._open = partial(SummaryWriter, str(directory), purge_step=step + 1 if step else None)
        self._writer: Any = None

    def begin(self) -> None:
        """Open a file."""
        self._writer = self._open()

    def log(self, row: Row) -> None:
        """One step's numbers."""
        for key, value in row.items():
            if key != "step" and isinstance(value, int | float):
                self._writer.add_scalar(key, value, row["step"])

    def show(self, step: int, samples: Sequence[Sample]) -> None:
        """The samples as text, in a block where no character means anything."""
        for place, sample in enumerate(samples):
            text = f"{sample['prompt']}{sample['text']}"
            self._writer.add_text(f"sample {place}", "\n".join(f"    {line}" for line in text.splitlines()), step)

    def save(self) -> None:
        """Hand what is pending to the system."""
        self._writer.flush()

    def close(self) -> None:
        """Close the files."""
        if self._writer is not None:
            self._writer.close()
