"""The optimizer: which parameters decay, and the fused kernel where the device has one."""

from __future__ import annotations

import torch
from torch import nn

from training.config import TrainingConfig
from training.optimization.optimizers import Optimizers

FUSED_DEVICES = ("cuda", "cpu", "mps")


def build_optimizers(model: nn.Module, config: TrainingConfig, device: torch.device) -> Optimizers:
    """AdamW (Loshchilov & Hutter 2019) or Adam over `model`'s parameters, which already lie on `device`.

    Weight decay holds for matrices (embeddings included), never for vectors: norms and biases have no scale
    to lose.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    fused = device.type in FUSED_DEVICES
    return Optimizers({config.optimizer: kind(groups, lr=config.learning_rate, betas=config.betas, fused=fused)})


def set_hyperparameters(optimizers: Optimizers, config: TrainingConfig) -> None:
    """Put the config's betas and decay into groups that a loaded state has just overwritten with its own."""
    for group in optimizers.groups():
        group["betas"] = config.betas
        group["weight_decay"] = config.weight_decay if group["params"][0].ndim >= 2 else 0.0
