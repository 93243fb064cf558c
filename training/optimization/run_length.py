"""How long a run is, and how to make it longer."""

from __future__ import annotations

import math
from pathlib import Path

from training.config import TrainingConfig
from training.state import RunState


def total_steps(config: TrainingConfig, state: RunState, samples_per_epoch: int, global_batch: int) -> int:
    """The step at which the run ends: `max_steps`, or the first by which `epochs` passes are complete.

    The last step of an epoch run may take its remaining samples from the pass after.
    """
    if config.max_steps is not None:
        return config.max_steps
    left = math.ceil(config.epochs * samples_per_epoch) - state.sample
    return state.step + max(0, math.ceil(left / global_batch))


def longer(directory: Path, config: TrainingConfig, state: RunState) -> str:
    """What a finished run tells its owner."""
    if config.max_steps is not None:
        more = f"--max_steps {2 * max(state.step, config.max_steps)}"
    else:
        more = f"--epochs {2 * config.epochs:g}"
    best = ""
    if state.best:
        best = f", best validation loss {state.best['val_loss']:.4f} at step {state.best['step']}"
    return (
        f"{directory}: this run is finished ({state.step} steps, {state.tokens:,} tokens{best}). "
        f"To train longer: python train.py --resume --out_dir {directory} {more}"
    )
