"""When the model is validated, and what follows from it."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from foundation.quantities import Count
from training.settings.base import Settings


class ValidationSettings(Settings):
    """Validation and early stopping."""

    FREE: ClassVar[frozenset[str]] = frozenset({"eval_interval", "early_stopping", "patience", "min_delta"})

    eval_interval: Count = Field(100, ge=1, description="steps between validations; the last step always validates")
    early_stopping: bool = Field(
        False, description="end the run when the validation loss (of the average, with use_ema) no longer falls"
    )
    patience: int = Field(
        5, ge=1, description="validations in a row without an improvement after which early_stopping ends the run"
    )
    min_delta: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="an improvement is a validation loss lower by more than this"
    )
