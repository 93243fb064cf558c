"""Which layers learn how fast: rates that fall towards the embeddings, and layers that keep their weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import nn

from foundation.errors import UserError
from foundation.logs import get_logger
from model.base import LanguageModel

log = get_logger("training")

Frozen = int | Literal["all"]


def rate_shares(model: nn.Module, decay: float) -> Mapping[int, float]:
    """The share of the learning rate that each parameter of `model` learns at, by the parameter's id.

    A parameter d blocks below the heads has decay^d: the top block decay, the embeddings decay^(blocks + 1) (Howard &
    Ruder 2018, arXiv 1801.06146; in this form Clark et al. 2020, arXiv 2003.10555). Empty for a decay of 1.
    """
    if decay == 1 or not isinstance(model, LanguageModel):
        return {}
    top = model.config.num_hidden_layers + 1
    return {id(parameter): decay ** (top - model.depth_of(name)) for name, parameter in model.named_parameters()}


def freeze(model: LanguageModel, layers: Frozen) -> None:
    """Let the embeddings and the lowest `layers` blocks of `model` keep their weights; `all`: all below the heads.

    `UserError` for more blocks than there are, and where nothing would be left to learn.
    """
    blocks = model.config.num_hidden_layers
    if layers == "all":
        layers = blocks
    if layers > blocks:
        raise UserError(f"freeze_layers {layers}: the model has {blocks} blocks; give at most {blocks}, or all")
    if layers == 0:
        return
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(model.depth_of(name) > layers)
    learning = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    if not learning:
        raise UserError("freeze_layers: nothing is left to learn; give fewer blocks")
    log.info(
        "frozen: the embeddings and %d of %d blocks; %s of %s weights learn",
        layers,
        blocks,
        f"{learning:,}",
        f"{sum(parameter.numel() for parameter in model.parameters()):,}",
    )
