"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math

from training.config import TrainingConfig


def learning_rate(step: int, total_steps: int, config: TrainingConfig) -> float:
    """Learning rate of optimizer step `step` (0-based) in a run of `total_steps`.

    Linear rise over `warmup_steps` (the first step already moves), then the chosen fall, which reaches
    `min_learning_rate` exactly at the last step. Cosine: Loshchilov & Hutter 2017 (arXiv 1608.03983), no
    restarts.
    """
    peak = config.learning_rate
    if step < config.warmup_steps:
        return peak * (step + 1) / config.warmup_steps
    if config.lr_scheduler == "constant":
        return peak
    low = config.min_learning_rate if config.min_learning_rate is not None else peak / 10
    last = total_steps - 1
    done = min(1.0, (step - config.warmup_steps) / max(1, last - config.warmup_steps))
    left = 1 - done if config.lr_scheduler == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return peak * left + low * (1 - left)
