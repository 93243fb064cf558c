"""When the model is validated, and what follows from it."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from foundation.quantities import Count
from training.settings.base import Settings


class ValidationSettings(Settings):
    """Validation."""

    FREE: ClassVar[frozenset[str]] = frozenset({"eval_interval"})

    eval_interval: Count = Field(100, ge=1, description="steps between validations; the last step always validates")
