"""The optimizers: which rule moves which weights, which of them decay, and fused kernels where the device has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from training.config import TrainingConfig
from training.optimization.optimizers import Optimizers

FUSED_DEVICES = ("cuda", "cpu", "mps")


def build_optimizers(model: nn.Module, config: TrainingConfig, device: torch.device) -> Optimizers:
    """The rule that `config.optimizer` names, over `model`'s parameters, which already lie on `device`.

    adamw: Loshchilov & Hutter 2019 (arXiv 1711.05101). adam: weight decay as an L2 penalty. muon: Jordan et al. 2024
    for the matrices of the blocks, their steps scaled to the size of AdamW's (Liu et al. 2025, arXiv 2502.16982), so
    that one learning rate and one weight decay serve both; AdamW for embeddings, head and vectors.

    Weight decay holds for matrices (embeddings included), never for vectors: norms and biases have no scale to lose.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if config.optimizer != "muon":
        return Optimizers({config.optimizer: _adam(parameters, config, device)})
    hidden = {id(parameter) for parameter in hidden_matrices(model)}
    matrices = [parameter for parameter in parameters if id(parameter) in hidden]
    muon = torch.optim.Muon(
        matrices,
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        momentum=config.muon_momentum,
        adjust_lr_fn="match_rms_adamw",
    )
    rest = [parameter for parameter in parameters if id(parameter) not in hidden]
    return Optimizers({"muon": muon, "adamw": _adam(rest, config, device)})


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """The matrices that map hidden states to hidden states: all that lie in a stack of blocks."""
    stacks = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    found = {id(p): p for stack in stacks for p in stack.parameters() if p.requires_grad and p.ndim == 2}
    assert found, "muon moves the matrices of a stack of blocks (nn.ModuleList), and this model has none"
    return list(found.values())


def set_hyperparameters(optimizers: Optimizers, config: TrainingConfig) -> None:
    """Put the config's rates of decay into groups that a loaded state has just overwritten with its own."""
    for group in optimizers.groups():
        group["weight_decay"] = _decay(group["params"], config)
        if "betas" in group:
            group["betas"] = config.betas
        if "momentum" in group:
            group["momentum"] = config.muon_momentum


def _adam(parameters: Sequence[nn.Parameter], config: TrainingConfig, device: torch.device) -> torch.optim.Optimizer:
    """Adam or AdamW, in groups of matrices and vectors."""
    kinds = [[p for p in parameters if p.ndim >= 2], [p for p in parameters if p.ndim < 2]]
    groups: list[dict[str, Any]] = [{"params": kind, "weight_decay": _decay(kind, config)} for kind in kinds if kind]
    rule = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return rule(groups, lr=config.learning_rate, betas=config.betas, fused=device.type in FUSED_DEVICES)


def _decay(parameters: Sequence[torch.Tensor], config: TrainingConfig) -> float:
    return config.weight_decay if parameters[0].ndim >= 2 else 0.0
