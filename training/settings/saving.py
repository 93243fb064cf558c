"""Where a run lies and when it is saved."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from foundation.quantities import Count
from training.settings.base import Settings


class SavingSettings(Settings):
    """Run directory and checkpoints."""

    FREE: ClassVar[frozenset[str]] = frozenset({"out_dir", "save_interval", "keep_last", "keep_best", "async_save"})

    out_dir: Path = Field(
        Path("out"),
        description="run directory: checkpoints, metrics, log, models; the tasks chat and classify turn `out` into "
        "out/finetune/NAME, named for the dataset",
    )
    save_interval: Count = Field(100, ge=1, description="steps between checkpoints; the last step always saves")
    keep_last: int = Field(3, ge=1, description="checkpoints kept under checkpoints/; older ones are removed")
    keep_best: bool = Field(
        True, description="also keep the checkpoint of the best validation, where one was saved at its step"
    )
    async_save: bool = Field(
        True,
        description="write checkpoints while training goes on, from a copy in memory; false: the loop waits instead",
    )
