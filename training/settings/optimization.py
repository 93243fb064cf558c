"""What moves the weights: optimizer, schedule of the learning rate, average of the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from foundation.quantities import Count
from training.settings.base import Settings

WARMUPS = ("warmup_steps", "warmup_ratio")


class OptimizationSettings(Settings):
    """Optimizer, schedule and average."""

    aliases: ClassVar[Mapping[str, Sequence[str]]] = {
        "optimizer": ["--optimizer_type", "--optimizer-type"],
        "learning_rate": ["--lr"],
        "min_learning_rate": ["--min_lr", "--min-lr"],
        "warmup_steps": ["--warmup_iters", "--warmup-iters"],
    }

    optimizer: Literal["adamw", "adam", "muon"] = Field(
        "adamw",
        description="adamw (decoupled weight decay), adam (weight decay as an L2 penalty) or muon (for the matrices of "
        "the blocks; embeddings, head and vectors get adamw)",
    )
    learning_rate: float = Field(3e-3, gt=0, allow_inf_nan=False, description="peak learning rate")
    min_learning_rate: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="learning rate of the last step; null: a tenth of learning_rate",
    )
    warmup_steps: Count | None = Field(
        30, ge=0, description="steps over which the learning rate rises linearly; null: as warmup_ratio says, or none"
    )
    warmup_ratio: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="share of the run over which the learning rate rises, of its steps, tokens or time, in place of "
        "warmup_steps",
    )
    lr_scheduler: Literal["cosine", "linear", "polynomial", "wsd", "constant"] = Field(
        "cosine",
        description="how the learning rate falls after the warmup: cosine, linear, polynomial, wsd (constant, then a "
        "fall at the end) or constant",
    )
    lr_power: float = Field(
        2.0, gt=0, allow_inf_nan=False, description="power of the polynomial schedule; 1 is the linear one"
    )
    decay_fraction: float = Field(
        0.2, gt=0, le=1, description="share of the steps after the warmup in which the wsd schedule falls"
    )
    decay_shape: Literal["sqrt", "linear"] = Field(
        "sqrt", description="how the wsd schedule falls: sqrt (1 - sqrt of the share done, steep at first) or linear"
    )
    betas: tuple[float, float] = Field((0.9, 0.95), description="decay rates of the optimizer's two moments")
    muon_momentum: float = Field(0.95, ge=0, lt=1, description="decay rate of muon's one moment")
    weight_decay: float = Field(
        0.1, ge=0, allow_inf_nan=False, description="weight decay of matrices; vectors and norms have none"
    )
    grad_clip: float | None = Field(
        1.0, gt=0, allow_inf_nan=False, description="largest norm of the gradient; null: no clipping"
    )
    use_ema: bool = Field(
        False,
        description="keep an exponential moving average of the weights; it is validated beside them, and best/ and "
        "final/ hold it",
    )
    ema_decay: float = Field(
        0.999, ge=0, lt=1, description="what a step keeps of the average, less in the first steps: (1 + t) / (10 + t)"
    )

    @classmethod
    def over(cls, low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
        """A warmup takes the place of that below it, in whichever way the two say it."""
        if any(high.get(name) is not None for name in WARMUPS):
            low = {name: value for name, value in low.items() if name not in WARMUPS}
        return super().over(low, high)

    @model_validator(mode="before")
    @classmethod
    def _ratio_alone(cls, values: Any) -> Any:
        """A ratio leaves out the default of the steps."""
        ratio = values.get("warmup_ratio") if isinstance(values, dict) else None
        return values if ratio is None else {"warmup_steps": None, **values}

    def problems(self) -> Sequence[str]:
        """Rates and warmups that contradict each other."""
        problems = []
        if self.warmup_steps is not None and self.warmup_ratio is not None:
            problems.append(
                f"warmup_steps {self.warmup_steps} and warmup_ratio {self.warmup_ratio:g} both say how long the "
                "learning rate rises; leave one of them out, or null"
            )
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
