"""The learning rate as a pure function of the step and of how far the run is."""

from __future__ import annotations

import math

from training.config import TrainingConfig


def learning_rate(warmed: float, progress: float, config: TrainingConfig) -> float:
    """Learning rate of an optimizer step.

    `warmed` is the share of the peak that the warmup gives it, 1 when that is over (`RunLength.warmed`); `progress`
    says where the step lies between the end of the warmup (0) and the run's last step (1, `RunLength.progress`).
    After the linear rise comes the chosen fall, which reaches `min_learning_rate` with the last step.
    """
    peak = config.learning_rate
    if warmed < 1:
        return peak * warmed
    low = config.min_learning_rate if config.min_learning_rate is not None else peak / 10
    height = height_left(progress, config)
    return peak * height + low * (1 - height)


def height_left(progress: float, config: TrainingConfig) -> float:
    """Share of the way from the lowest to the peak rate that is left at `progress` (0 to 1).

    Cosine: Loshchilov & Hutter 2017 (arXiv 1608.03983), no restarts. Polynomial: (1 - progress)^power. Constant: the
    peak to the end. Warmup-stable-decay: Hu et al. 2024 (arXiv 2404.06395); the fall of shape 1 - sqrt: Hägele et al.
    2024 (arXiv 2405.18392).
    """
    match config.lr_scheduler:
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * progress))
        case "linear":
            return 1 - progress
        case "polynomial":
            return float((1 - progress) ** config.lr_power)
        case "wsd":
            fallen = max(0.0, 1 - (1 - progress) / config.decay_fraction)
            return 1 - (math.sqrt(fallen) if config.decay_shape == "sqrt" else fallen)
        case "constant":
            return 1.0
