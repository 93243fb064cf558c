"""What moves the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from foundation.quantities import Count
from training.settings.base import Settings


class OptimizationSettings(Settings):
    """Optimizer and schedule."""

    optimizer: Literal["adamw", "adam"] = Field(
        "adamw", description="adamw (decoupled weight decay) or adam (weight decay as an L2 penalty)"
    )
    learning_rate: float = Field(3e-3, gt=0, allow_inf_nan=False, description="peak learning rate")
    min_learning_rate: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="learning rate of the last step; null: a tenth of learning_rate",
    )
    warmup_steps: Count = Field(30, ge=0, description="steps over which the learning rate rises linearly")
    lr_scheduler: Literal["cosine", "linear", "constant"] = Field(
        "cosine", description="how the learning rate falls after the warmup: cosine, linear or constant"
    )
    betas: tuple[float, float] = Field((0.9, 0.95), description="decay rates of the optimizer's two moments")
    weight_decay: float = Field(
        0.1, ge=0, allow_inf_nan=False, description="weight decay of matrices; vectors and norms have none"
    )
    grad_clip: float | None = Field(
        1.0, gt=0, allow_inf_nan=False, description="largest norm of the gradient; null: no clipping"
    )

    def problems(self) -> Sequence[str]:
        """Rates that contradict each other."""
        problems = []
        low = self.min_learning_rate
        if low is not None and low > self.learning_rate:
            problems.append(
                f"min_learning_rate {low:g} is above learning_rate {self.learning_rate:g}; "
                "lower it, or null for a tenth of learning_rate"
            )
        if not all(0 <= beta < 1 for beta in self.betas):
            problems.append(f"betas {self.betas}: each must lie in [0, 1), for example 0.9 0.95")
        if self.weight_decay * self.learning_rate >= 1:
            problems.append(
                f"learning_rate {self.learning_rate:g} x weight_decay {self.weight_decay:g} reaches 1: "
                "every step would erase the weights; lower one of them"
            )
        return problems
