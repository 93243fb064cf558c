"""Tiny encoders of `transformers` and ours, with prime-sized axes and weights large enough that every part matters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from model.build import new_model
from model.config import ModelConfig
from model.encoder.encoder import Encoder
from model.encoder.heads import Heads

SHAPE: dict[str, Any] = {
    "hidden_size": 30,
    "num_hidden_layers": 5,
    "num_attention_heads": 3,
    "intermediate_size": 37,
    "max_position_embeddings": 61,
}
THEIRS: dict[str, dict[str, Any]] = {
    "Bert": {"type_vocab_size": 3, "layer_norm_eps": 1e-3},
    "ModernBert": {
        "local_attention": 6,
        "norm_eps": 1e-3,
        **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 1),
    },
}
OURS: dict[str, dict[str, Any]] = {
    "bert": {"type_vocab_size": 3, "layer_norm_eps": 1e-3},
    "modernbert": {"local_attention": 6, "layer_norm_eps": 1e-3},
}
MakeTheirs = Callable[..., Any]
MakeOurs = Callable[..., Encoder]


def shake(model: nn.Module) -> None:
    """Random numbers in every weight: norms of one and biases of zero would hide those that are left out."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 or name.endswith("bias"):
            nn.init.normal_(parameter, std=0.3)
        else:
            nn.init.uniform_(parameter, 0.5, 1.5)


@pytest.fixture(scope="session")
def make_theirs() -> MakeTheirs:
    """`make_theirs("BertForMaskedLM", **config)`: a model of `transformers` in evaluation mode."""

    def make(kind: str, **changes: Any) -> Any:
        family = kind.split("For")[0].removesuffix("Model")
        config = getattr(transformers, f"{family}Config")(**{**SHAPE, "vocab_size": 101, **THEIRS[family], **changes})
        model = getattr(transformers, kind)(config)
        shake(model)
        return model.eval()

    return make


@pytest.fixture(scope="session")
def make_ours() -> MakeOurs:
    """`make_ours("bert", Heads(...), **config)`: a model of ours in evaluation mode."""

    def make(architecture: str, heads: Heads, shaken: bool = True, **changes: Any) -> Encoder:
        config = ModelConfig(architecture=architecture, **{**SHAPE, **OURS[architecture], **changes})  # type: ignore[arg-type]
        model = new_model(config, 101, heads)
        assert isinstance(model, Encoder)
        if shaken:
            shake(model)
        return model.eval()

    return make
