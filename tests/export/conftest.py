"""The tiny models and tokenizers of tests/generation, and model directories of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from model.decoder import Decoder
from model.directory import save_model_directory
from tests.generation.conftest import chat_tokenizer, make_model, tokenizer
from tokenization.tokenizer import Tokenizer

__all__ = ["chat_tokenizer", "make_model", "tokenizer"]


@pytest.fixture
def make_directory(make_model: Callable[..., Decoder], tokenizer: Tokenizer, tmp_path: Path) -> Callable[..., Path]:
    """`make_directory(tokenizer=…, dtype=…, **config)`: a model directory whose norms and biases matter, too."""

    def make(own: Tokenizer | None = None, dtype: torch.dtype = torch.float32, **changes: Any) -> Path:
        own = own or tokenizer
        model = make_model(**{"hidden_size": 48, "intermediate_size": 64, "initializer_range": 0.2, **changes})
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                torch.nn.init.uniform_(parameter, *((0.5, 1.5) if "norm" in name else (-0.5, 0.5)))
        roles = own.roles
        save_model_directory(
            tmp_path / "model",
            model.to(dtype),
            tokenizer_files=own.files(),
            generation={"eos_token_id": roles.end_of_text, "pad_token_id": roles.pad},
            mateconv={"objective": "causal", "license": "mit"},
        )
        return tmp_path / "model"

    return make
