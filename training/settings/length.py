"""How long a run is, and how many samples make a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from foundation.quantities import Count, Duration
from training.settings.base import Settings

LIMITS = ("max_steps", "max_tokens", "time_budget")


class LengthSettings(Settings):
    """Run length and batch size."""

    FREE: ClassVar[frozenset[str]] = frozenset(
        {*LIMITS, "epochs", "batch_size", "accumulation_steps", "global_batch_size"}
    )

    max_steps: Count | None = Field(None, ge=1, description="optimizer steps; null: as many as `epochs` needs")
    epochs: float = Field(
        1.5,
        gt=0,
        allow_inf_nan=False,
        description="passes over the training data, used while no other length is given",
    )
    max_tokens: Count | None = Field(
        None,
        ge=1,
        description="predicted tokens (of an encoder or a chat: tokens read), instead of max_steps: the run ends with "
        "the step that reaches them",
    )
    time_budget: Duration | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="time to train (30m, 2h), instead of max_steps, over all stretches of a resumed run; the last "
        "validation and save come on top",
    )
    batch_size: Annotated[Count | None, BeforeValidator(lambda value: None if value == "auto" else value)] = Field(
        16,
        ge=1,
        description="sequences in one microstep on one device; auto (null): as many as fit its memory, the same "
        "samples a step as without",
    )
    accumulation_steps: Count = Field(1, ge=1, description="microsteps summed into one optimizer step")
    global_batch_size: Count | None = Field(
        None,
        ge=1,
        description="sequences in one optimizer step over all devices; the accumulation follows from it; null: "
        "batch_size x accumulation_steps x devices",
    )

    def problems(self) -> Sequence[str]:
        """Lengths that contradict each other."""
        problems = []
        given = [name for name in LIMITS if getattr(self, name) is not None]
        if len(given) > 1:
            problems.append(
                f"{' and '.join(given)} each say when the run ends; give one of them "
                f"(and {' '.join(f'--{name} null' for name in given[1:])}, say)"
            )
        if self.global_batch_size is not None and self.accumulation_steps > 1:
            problems.append(
                "global_batch_size and accumulation_steps both say how many sequences a step has; leave one of them out"
            )
        return problems
