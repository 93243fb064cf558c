"""What happens when numbers go wrong."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from training.settings.base import Settings


class RobustnessSettings(Settings):
    """Faults while training."""

    FREE: ClassVar[frozenset[str]] = frozenset({"on_nonfinite", "max_bad_steps", "spike_threshold"})

    on_nonfinite: Literal["skip", "stop"] = Field(
        "skip",
        description="a loss, gradient or optimizer state that is not finite: skip the step and go on, or stop the run",
    )
    max_bad_steps: int = Field(5, ge=1, description="stop after this many skipped steps in a row")
    spike_threshold: float | None = Field(
        6.0,
        gt=0,
        allow_inf_nan=False,
        description="note a step in spikes.jsonl when its loss is this many standard deviations above the usual one; "
        "null: never",
    )
