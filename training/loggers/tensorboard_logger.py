"""TensorBoard. The library is imported only when it is used."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from foundation.errors import UserError
from training.loggers import Logger, Row, Sample


class TensorBoardLogger(Logger):
    """Writes rows and samples to `directory`. A run that continues at `step` hides what a killed one wrote after it."""

    def __init__(self, directory: Path, step: int) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            raise UserError("use_tensorboard: the package is not installed; pip install tensorboard, or leave it out")
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        self._writer = SummaryWriter(str(directory), purge_step=step + 1 if step else None)

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
        self._writer.close()
