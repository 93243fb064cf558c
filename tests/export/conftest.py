"""The tokenizer of tests/generation, model directories of tiny decoders over it, and their GGUF files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch

from export.gguf import export_gguf
from model.config import ModelConfig
from model.decoder import Decoder
from model.directory import save_model_directory
from tests.generation.conftest import tokenizer
from tokenization.tokenizer import Tokenizer

__all__ = ["tokenizer"]


SHAPE: dict[str, Any] = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "intermediate_size": 64,
    "max_position_embeddings": 97,
    "initializer_range": 0.2,
}


@pytest.fixture
def make_directory(tokenizer: Tokenizer, tmp_path: Path) -> Callable[..., Path]:
    """`make_directory(tokenizer=…, dtype=…, **config)`: a model directory whose norms and biases matter, too."""

    def make(own: Tokenizer | None = None, dtype: torch.dtype = torch.float32, **changes: Any) -> Path:
        own = own or tokenizer
        torch.manual_seed(0)
        shape = {**SHAPE, **changes}
        model = Decoder(ModelConfig(**shape), max(own.vocab_size, tokenizer.vocab_size)).eval()
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


@pytest.fixture
def written(make_directory: Callable[..., Path], tmp_path: Path) -> Callable[..., tuple[Path, Any]]:
    """`written(dtype=…, **config)`: a model directory, and its GGUF file as `gguf` reads it."""

    def write(dtype: str | None = None, own: Tokenizer | None = None, **changes: Any) -> tuple[Path, Any]:
        directory = make_directory(own, **changes)
        export_gguf(directory, tmp_path / "m.gguf", dtype)
        return directory, gguf.GGUFReader(tmp_path / "m.gguf")

    return write


def value(reader: Any, key: str) -> Any:
    """The content of a metadata key; None where it is missing."""
    field = reader.get_field(key)
    return None if field is None else field.contents()
