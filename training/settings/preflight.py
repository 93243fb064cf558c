"""What is tried before the first step, and how much memory a run may take."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from foundation.quantities import Size
from training.settings.base import Settings


class PreflightSettings(Settings):
    """Checks before step 1."""

    FREE: ClassVar[frozenset[str]] = frozenset({"preflight", "memory_budget"})

    preflight: bool = Field(
        True, description="before step 1 check token ids, disk space and, with one step that leaves no trace, memory"
    )
    memory_budget: Size | None = Field(
        None, ge=1, description="most memory of its device one process may take: 24GB; null: what is free"
    )
