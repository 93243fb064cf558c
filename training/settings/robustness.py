"""What happens when numbers go wrong."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from training.settings.base import Settings


class RobustnessSettings(Settings):
    """Faults while training."""

    FREE: ClassVar[frozenset[str]] = frozenset({"max_bad_steps"})

    max_bad_steps: int = Field(
        5, ge=1, description="stop after this many steps in a row with a loss or gradient that is not finite"
    )
