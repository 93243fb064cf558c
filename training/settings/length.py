"""How long a run is, and how many samples make a step."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from foundation.quantities import Count
from training.settings.base import Settings


class LengthSettings(Settings):
    """Run length and batch size."""

    FREE: ClassVar[frozenset[str]] = frozenset({"max_steps", "epochs", "batch_size", "accumulation_steps"})

    max_steps: Count | None = Field(None, ge=1, description="optimizer steps; null: as many as `epochs` needs")
    epochs: float = Field(
        1.5,
        gt=0,
        allow_inf_nan=False,
        description="passes over the training data, used while max_steps is null",
    )
    batch_size: Count = Field(16, ge=1, description="sequences in one microstep on one device")
    accumulation_steps: Count = Field(1, ge=1, description="microsteps summed into one optimizer step")
