"""The section `logging`: what a run tells people."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from foundation.quantities import Count
from training.settings.base import Settings


class LoggingConfig(Settings):
    """What a run tells people."""

    FREE: ClassVar[frozenset[str]] = frozenset({"log_interval", "use_wandb", "wandb_project", "wandb_mode"})

    log_interval: Count = Field(10, ge=1, description="steps between the lines of metrics.jsonl")
    use_wandb: bool = Field(False, description="also log to Weights & Biases")
    wandb_project: str = Field("mateconv", min_length=1, description="Weights & Biases project")
    wandb_mode: Literal["online", "offline", "disabled"] = Field(
        "online", description="online, offline (files under out_dir/wandb, no network) or disabled"
    )
