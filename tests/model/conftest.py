"""Tiny decoders with prime-sized axes and weights large enough that every part matters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from model.config import ModelConfig
from model.decoder import Decoder

VOCABULARY = 101


@pytest.fixture
def make_decoder() -> Callable[..., Decoder]:
    """`make_decoder(vocab_size=…, **config)`: heads 3 (1 for keys), width 3 x 10, feed-forward 37, context 61."""

    def make(vocab_size: int = VOCABULARY, seed: int = 0, **changes: Any) -> Decoder:
        torch.manual_seed(seed)
        shape: dict[str, Any] = {
            "hidden_size": 30,
            "num_hidden_layers": 3,
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
            "intermediate_size": 37,
            "max_position_embeddings": 61,
            "initializer_range": 0.4,
        }
        model = Decoder(ModelConfig(**(shape | changes)), vocab_size)
        for name, parameter in model.named_parameters():  # norms of one would hide a norm that is left out
            if "norm" in name:
                torch.nn.init.uniform_(parameter, 0.5, 1.5)
        return model.eval()

    return make
