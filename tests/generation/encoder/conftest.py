"""Tiny random encoders over tokenizers of each kind: ours in memory, and directories as `transformers` writes them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from model.build import new_model
from model.config import ModelConfig
from model.encoder.encoder import Encoder
from model.encoder.heads import Heads
from tokenization.framing import framed
from tokenization.tokenizer import Tokenizer
from tokenization.train import train_tokenizer

TEXTS = [
    "the film was great, and the cat sat on the mat.",
    "a movie: was it good? The cat thought so!",
    "我爱电影。",
    "",
    "cat " * 60,
    "no",
]
"""Of many lengths; the fifth is longer than the tiny models read."""
PRETRAINING, CLASSES = Heads(mlm=True), Heads(labels=("bad", "fair", "good"))
POSITIONS = 47


@pytest.fixture(autouse=True)
def heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """The project's messages reach pytest, whatever command ran before in this process."""
    monkeypatch.setattr(logging.getLogger("mateconv"), "propagate", True)


@pytest.fixture(scope="session")
def kinds() -> Callable[[str], Tokenizer]:
    """`kinds("wordpiece")`: a tokenizer of the kind, trained once."""
    made: dict[str, Tokenizer] = {}

    def get(kind: str) -> Tokenizer:
        if kind not in made:
            made[kind] = train_tokenizer(kind, TEXTS * 3, 340)
        return made[kind]

    return get


@pytest.fixture(scope="session")
def make_encoder() -> Callable[..., Encoder]:
    """`make_encoder(tokenizer, heads, architecture)`: weights so large that answers differ and ties do not happen."""

    def make(tokenizer: Tokenizer, heads: Heads = PRETRAINING, architecture: str = "bert", **changes: Any) -> Encoder:
        torch.manual_seed(0)
        shape: dict[str, Any] = {
            "architecture": architecture,
            "hidden_size": 36,
            "num_hidden_layers": 3,
            "num_attention_heads": 3,
            "intermediate_size": 41,
            "max_position_embeddings": POSITIONS,
            "initializer_range": 0.3,
        }
        model = new_model(ModelConfig(**(shape | changes)), tokenizer.vocab_size, heads).eval()
        assert isinstance(model, Encoder)
        return model

    return make


@pytest.fixture(scope="session")
def hugging_face(
    kinds: Callable[[str], Tokenizer], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Path]:
    """`hugging_face("BertForMaskedLM", "bpe")`: a directory that `transformers` wrote."""
    transformers = pytest.importorskip("transformers")
    made: dict[tuple[str, str], Path] = {}

    def get(architecture: str, kind: str) -> Path:
        if (architecture, kind) not in made:
            tokenizer = kinds(kind)
            shape: dict[str, Any] = {
                "vocab_size": tokenizer.vocab_size,
                "hidden_size": 36,
                "num_hidden_layers": 3,
                "num_attention_heads": 3,
                "intermediate_size": 41,
                "max_position_embeddings": POSITIONS,
                "initializer_range": 0.3,
                "pad_token_id": tokenizer.roles.pad,
            }
            if "Classification" in architecture:
                shape |= {
                    "id2label": dict(enumerate(CLASSES.labels)),
                    "label2id": {n: i for i, n in enumerate(CLASSES.labels)},
                }
            if architecture.startswith("Modern"):
                roles = tokenizer.roles
                shape |= {"local_attention": 8, "cls_token_id": roles.cls, "sep_token_id": roles.sep}
                shape |= {"bos_token_id": roles.cls, "eos_token_id": roles.sep, "initializer_cutoff_factor": 3.0}
                config = transformers.ModernBertConfig(**shape)
            else:
                config = transformers.BertConfig(**shape)
            torch.manual_seed(1)
            path = tmp_path_factory.mktemp("hf") / architecture
            getattr(transformers, architecture)(config).save_pretrained(path)
            framed(tokenizer).save(path)
            made[architecture, kind] = path
        return made[architecture, kind]

    return get
