"""Which layers learn how fast, and which not at all."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from foundation.errors import UserError
from model.build import new_model
from model.config import ModelConfig
from model.encoder.heads import Heads
from training.config import TrainingConfig
from training.finetuning.layers import freeze
from training.optimization.optimizer import build_optimizers, same_groups

SIZES: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "num_key_value_heads": 2,
                         "max_position_embeddings": 16}  # fmt: skip
CPU = torch.device("cpu")
HEADS = {"llama": None, "bert": Heads(labels=("a", "b")), "modernbert": Heads(labels=("a", "b"))}


def model_of(architecture: str) -> Any:
    return new_model(ModelConfig(architecture=architecture, **SIZES), 50, HEADS[architecture])


def share_by_name(model: Any, config: TrainingConfig) -> dict[str, float]:
    """The share of the learning rate that each parameter gets from its group."""
    optimizers = build_optimizers(model, config, CPU)
    optimizers.set_learning_rate(3.0)
    rates = {id(p): group["lr"] / 3.0 for group in optimizers.groups() for p in group["params"]}
    return {name: rates[id(parameter)] for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "muon"])
@pytest.mark.parametrize("architecture", ["llama", "bert", "modernbert"])
def test_each_layer_learns_at_its_share(architecture: str, optimizer: str) -> None:
    shares = share_by_name(model_of(architecture), TrainingConfig(layer_lr_decay=0.5, optimizer=optimizer))
    for name, share in shares.items():
        block = next((int(part) for part in name.split(".") if part.isdigit()), None)
        if block is not None:
            assert share == 0.5 ** (3 - block), name
        elif "embed" in name:
            assert share == 0.5**4, name
        else:
            assert share == 1.0, name
    assert len(set(shares.values())) == 5


def test_weights_move_by_their_share() -> None:
    """The first step of Adam moves every weight by its rate, whatever the gradient's size."""
    model = model_of("bert")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizers = build_optimizers(model, TrainingConfig(layer_lr_decay=0.5, weight_decay=0.0), CPU)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizers.set_learning_rate(0.01)
    optimizers.step(torch.amp.GradScaler("cpu", enabled=False))
    for name, parameter in model.named_parameters():
        moved = (parameter - before[name]).abs().mean().item()
        assert moved == pytest.approx(0.01 * 0.5 ** (4 - model.depth_of(name)), rel=1e-2), name


def test_without_decay_the_groups_are_those_of_matrices_and_vectors() -> None:
    groups = build_optimizers(model_of("bert"), TrainingConfig(), CPU).groups()
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert all("rate_share" not in group for group in groups)


@pytest.mark.parametrize("layers,learning", [(0, 5), (1, 3), (3, 1), ("all", 1)])
def test_the_lowest_layers_are_frozen(layers: Any, learning: int) -> None:
    model = model_of("bert")
    freeze(model, layers)
    depths = {model.depth_of(name) for name, p in model.named_parameters() if p.requires_grad}
    assert depths == set(range(5 - learning, 5)) and 4 in depths
    moved = {id(p) for group in build_optimizers(model, TrainingConfig(), CPU).groups() for p in group["params"]}
    assert moved == {id(p) for p in model.parameters() if p.requires_grad}


def test_what_cannot_be_frozen_is_said() -> None:
    with pytest.raises(UserError, match="the model has 3 blocks"):
        freeze(model_of("bert"), 4)
    with pytest.raises(UserError, match="give --optimizer adamw"):
        model = model_of("bert")
        freeze(model, "all")
        build_optimizers(model, TrainingConfig(optimizer="muon"), CPU)
    assert TrainingConfig(freeze_layers=-1).problems()


def test_a_state_fits_only_the_same_groups() -> None:
    saved = TrainingConfig().model_dump(mode="json")
    assert same_groups(saved, TrainingConfig(learning_rate=1.0))
    assert same_groups({"optimizer": "adamw"}, TrainingConfig())  # of a run before there were such settings
    for change in ({"layer_lr_decay": 0.9}, {"freeze_layers": 1}, {"optimizer": "adam"}):
        assert not same_groups(saved, TrainingConfig(**change))
