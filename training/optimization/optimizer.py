"""The optimizers: which rule moves which weights, which of them decay, and fused kernels where the device has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from foundation.errors import UserError
from training.config import TrainingConfig
from training.finetuning.layers import rate_shares
from training.optimization.optimizers import SHARE, Optimizers

FUSED_DEVICES = ("cuda", "cpu", "mps")


def build_optimizers(model: nn.Module, config: TrainingConfig, device: torch.device) -> Optimizers:
    """The rule that `config.optimizer` names, over `model`'s parameters, which already lie on `device`.

    adamw: Loshchilov & Hutter 2019 (arXiv 1711.05101). adam: weight decay as an L2 penalty. muon: Jordan et al. 2024
    for the matrices of the blocks, their steps scaled to the size of AdamW's (Liu et al. 2025, arXiv 2502.16982), so
    that one learning rate and one weight decay serve both; AdamW for embeddings, head and vectors.

    Weight decay holds for matrices (embeddings included), never for vectors: norms and biases have no scale to lose.
    Weights that are frozen belong to no group; `layer_lr_decay` makes a group for each layer.
    """
    shares = rate_shares(model, config.layer_lr_decay)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if config.optimizer != "muon":
        return Optimizers({config.optimizer: _adam(parameters, config, device, shares)})
    hidden = {id(parameter) for parameter in hidden_matrices(model)}
    matrices = [parameter for parameter in parameters if id(parameter) in hidden]
    muon = torch.optim.Muon(
        _groups(matrices, shares),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        momentum=config.muon_momentum,
        adjust_lr_fn="match_rms_adamw",
    )
    rest = [parameter for parameter in parameters if id(parameter) not in hidden]
    return Optimizers({"muon": muon, "adamw": _adam(rest, config, device, shares)})


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """The matrices that map hidden states to hidden states: all that lie in a stack of blocks."""
    stacks = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    found = {id(p): p for stack in stacks for p in stack.parameters() if p.requires_grad and p.ndim == 2}
    if not found:
        raise UserError("muon moves the matrices of the blocks, and none of them learns; give --optimizer adamw")
    return list(found.values())


def same_groups(saved: Mapping[str, Any], config: TrainingConfig) -> bool:
    """Whether a run with the training settings `saved` grouped its weights as one with `config` does; only then does
    the state of its optimizers fit."""
    defaults = {"layer_lr_decay": 1.0, "freeze_layers": 0}
    same = all(saved.get(key, value) == getattr(config, key) for key, value in defaults.items())
    return same and bool(saved["optimizer"] == config.optimizer)


def set_hyperparameters(optimizers: Optimizers, config: TrainingConfig) -> None:
    """Put the config's rates of decay into groups that a loaded state has just overwritten with its own."""
    for group in optimizers.groups():
        group["weight_decay"] = _decay(group["params"], config)
        if "betas" in group:
            group["betas"] = config.betas
        if "momentum" in group:
            group["momentum"] = config.muon_momentum


def _adam(
    parameters: Sequence[nn.Parameter], config: TrainingConfig, device: torch.device, shares: Mapping[int, float]
) -> torch.optim.Optimizer:
    """Adam or AdamW, in groups of matrices and vectors."""
    kinds = [[p for p in parameters if p.ndim >= 2], [p for p in parameters if p.ndim < 2]]
    groups = [group for kind in kinds for group in _groups(kind, shares)]
    for group in groups:
        group["weight_decay"] = _decay(group["params"], config)
    rule = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return rule(groups, lr=config.learning_rate, betas=config.betas, fused=device.type in FUSED_DEVICES)


def _groups(parameters: Sequence[nn.Parameter], shares: Mapping[int, float]) -> list[dict[str, Any]]:
    """One group, or one for each of the `shares` of the learning rate, by a parameter's id, that occur."""
    if not shares:
        return [{"params": list(parameters)}] if parameters else []
    by_share: dict[float, list[nn.Parameter]] = {}
    for parameter in parameters:
        by_share.setdefault(shares[id(parameter)], []).append(parameter)
    return [{"params": some, SHARE: share} for share, some in by_share.items()]


def _decay(parameters: Sequence[torch.Tensor], config: TrainingConfig) -> float:
    return config.weight_decay if parameters[0].ndim >= 2 else 0.0
