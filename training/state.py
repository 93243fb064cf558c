"""What a run knows about its own progress, apart from tensors."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class RunState:
    """Progress of a run. Everything is a plain value, so that a checkpoint holds it as it is."""

    step: int = 0
    """Optimizer steps done (skipped ones included: they used their samples)."""
    tokens: int = 0
    """Tokens seen so far, over all ranks: predicted ones, or for an encoder those it has read."""
    sample: int = 0
    """Number of the next global sample."""
    elapsed: float = 0.0
    """Seconds of training, validations and saves included, over all stretches of the run."""
    warmed_after: float | None = None
    """Under a time budget: what `elapsed` was when the last step of `warmup_steps` was done; None before."""
    best: dict[str, Any] | None = None
    """`val_loss` (or what else the task follows), `step` and `validation` (identity of its data) of the best
    validation."""
    early: dict[str, Any] | None = None
    """Early stopping's account: `value` and `step` of the last improvement, `stale` validations since, `validation`
    (identity of its data)."""
    bad_steps: int = 0
    """Skipped steps in a row, up to now."""
    skipped: int = 0
    """Steps skipped so far because a loss or gradient was not finite."""
    validated: dict[str, Any] | None = None
    """The last validation: its `step` and its `values` by name."""
    pending_row: dict[str, Any] | None = None
    """The metrics of a step whose validation was interrupted: a resume validates first and then logs it."""
    microbatch: int | None = None
    """Sequences in one microstep, where the run chose it itself: `--batch_size auto`, or memory that ran out."""
    mixture: list[dict[str, Any]] = field(default_factory=list)
    """How the training datasets are mixed, and from which sample on: every stretch so far (`shards.mixture`)."""
    usual_loss: dict[str, float] = field(default_factory=dict)
    """Moving mean and variance of the loss, by which spikes are judged."""
    wandb_id: str | None = None
    """The Weights & Biases run to continue."""

    @property
    def best_in_words(self) -> str:
        """`best validation loss 3.1416 at step 200`; empty before the first validation."""
        if not self.best:
            return ""
        measure = next(key for key in self.best if key.startswith("val_"))
        name = {"val_loss": "validation loss", "val_error": "validation error"}.get(measure, measure)
        return f"best {name} {self.best[measure]:.4f} at step {self.best['step']}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return asdict(self)
