"""Hidden states at some places, which the last block computes alone, against those of all positions."""

from __future__ import annotations

import pytest
import torch

from model.build import new_model
from model.config import ModelConfig
from model.encoder.encoder import Encoder
from model.encoder.heads import Heads


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("architecture", ["bert", "modernbert"])
def test_places_are_those_of_all_positions(architecture: str, recompute: bool, layers: int) -> None:
    torch.manual_seed(0)
    config = ModelConfig(
        architecture=architecture,  # type: ignore[arg-type]
        hidden_size=30,
        num_hidden_layers=layers,
        num_attention_heads=3,
        max_position_embeddings=23,
        initializer_range=0.3,
    )
    model = new_model(config, 101, Heads(mlm=True)).double()
    assert isinstance(model, Encoder)
    model.recompute = recompute
    tokens = torch.randint(0, 101, (2, 23))
    segments = torch.tensor([0, 7, 23, 24, 46], dtype=torch.int32)
    places = torch.tensor([0, 0, 5, 22, 23, 45])
    alone = model(tokens, segments=segments, places=places)
    everywhere = model(tokens, segments=segments).flatten(0, 1)[places]
    torch.testing.assert_close(alone, everywhere)
    upstream = torch.randn_like(alone)
    read = [
        parameter for name, parameter in model.named_parameters() if not name.startswith(("cls.", "head.", "decod"))
    ]
    gradients = [torch.autograd.grad(out, read, upstream) for out in (alone, everywhere)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
