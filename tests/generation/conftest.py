"""A byte-level tokenizer and tiny random models over its vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from model.config import ModelConfig
from model.decoder import Decoder
from model.directory import save_model_directory
from tokenization.tokenizer import Tokenizer
from tokenization.train import train_byte_bpe

TEXTS = [
    "the cat sat on the mat, and the dog saw the cat",
    "床前明月光，疑是地上霜。举头望明月，低头思故乡。",
    "🙂🙃🙂 café",
]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return train_byte_bpe(TEXTS * 3, 331)


@pytest.fixture(scope="session")
def chat_tokenizer(tokenizer: Tokenizer) -> Tokenizer:
    return Tokenizer.from_files(tokenizer.files() | {"chat_template.jinja": CHATML.encode()})


@pytest.fixture(scope="session")
def make_model(tokenizer: Tokenizer) -> Callable[..., Decoder]:
    """`make_model(seed=…, **config)`: weights so large that texts vary and ties do not happen."""

    def make(seed: int = 0, **changes: Any) -> Decoder:
        torch.manual_seed(seed)
        shape: dict[str, Any] = {
            "hidden_size": 30,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "num_key_value_heads": 1,
            "intermediate_size": 37,
            "max_position_embeddings": 97,
            "initializer_range": 0.4,
        }
        return Decoder(ModelConfig(**(shape | changes)), tokenizer.vocab_size).eval()

    return make


@pytest.fixture
def run_directory(make_model: Callable[..., Decoder], tokenizer: Tokenizer, tmp_path: Path) -> Path:
    """A run directory with a model in best/."""
    roles = tokenizer.roles
    save_model_directory(
        tmp_path / "run" / "best",
        make_model(),
        tokenizer_files=tokenizer.files(),
        generation={"eos_token_id": roles.end_of_text, "pad_token_id": roles.pad},
        mateconv={"objective": "causal", "chat_trained": False, "step": 3},
    )
    return tmp_path / "run"
