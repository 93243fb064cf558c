"""BERT's first block as it starts: heads that look at fixed distances, and what that is for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from model.build import new_model
from model.config import ModelConfig
from model.encoder.bert import Bert
from model.encoder.heads import Heads

ROOT = Path(__file__).resolve().parents[3]
V, WORDS, LENGTH = 211, 37, 149
SMALL: dict[str, Any] = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2}


def make(**settings: Any) -> Bert:
    torch.manual_seed(7)
    config = ModelConfig(**{"architecture": "bert", "max_position_embeddings": LENGTH, **SMALL, **settings})
    model = new_model(config, V, Heads(mlm=True))
    assert isinstance(model, Bert)
    return model


def first_attention(model: Bert, tokens: Tensor) -> Tensor:
    """The weights (H, T, T) of the first block for one row of tokens (T,), by the formula."""
    heads = model.config.num_attention_heads
    x = model.bert.embeddings(tokens[None], torch.arange(len(tokens))[None], None)[0]  # (T, C)
    weights = model.state_dict()
    parts = (weights[f"bert.encoder.layer.0.attention.self.{part}.weight"] for part in ("query", "key"))
    queries, keys = ((x @ part.T).unflatten(-1, (heads, -1)).transpose(0, 1) for part in parts)
    return torch.softmax(queries @ keys.transpose(1, 2) / queries.shape[-1] ** 0.5, dim=-1)


@pytest.mark.parametrize("shape", [{"hidden_size": 192, "num_attention_heads": 6}, {"hidden_size": 112}, SMALL])
def test_each_head_looks_at_its_distance(shape: dict[str, Any]) -> None:
    model = make(**shape)
    tokens = torch.randint(0, V, (LENGTH,))
    weights = first_attention(model, tokens)
    places = torch.arange(4, LENGTH - 4)
    for head, distance in zip(weights, (1, -1, 2, -2, 3, -3), strict=False):
        looked_at = head[places, places + distance]
        assert looked_at.mean() > 0.4, distance
        assert (head[places].argmax(-1) == places + distance).float().mean() > 0.95, distance


def test_words_and_the_other_blocks_start_by_chance() -> None:
    weights, plain = make().state_dict(), make(local_init=False).state_dict()
    vectors = (f"embeddings.{kind}_embeddings.weight" for kind in ("word", "position", "token_type"))
    first = (f"encoder.layer.0.attention.self.{part}.weight" for part in ("query", "key"))
    changed = {name for name, value in plain.items() if not torch.equal(weights[name], value)}
    assert changed == {f"bert.{name}" for name in (*vectors, *first)}
    assert plain["bert.embeddings.word_embeddings.weight"].std().item() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("shape", [{"hidden_size": 60}, {"num_attention_heads": 8}])
def test_small_heads_start_by_chance(shape: dict[str, Any]) -> None:
    weights, plain = make(**shape).state_dict(), make(**shape, local_init=False).state_dict()
    assert all(torch.equal(weights[name], value) for name, value in plain.items())


def test_a_model_that_will_be_loaded_is_not_started() -> None:
    """On `meta`, sines and noise import sympy and the compiler, which takes longer than to load a small model."""
    program = (
        "import sys; from model.build import new_model; from model.unfilled import unfilled\n"
        "from model.config import ModelConfig; from model.encoder.heads import Heads\n"
        f"config = ModelConfig(architecture='bert', max_position_embeddings=9, **{SMALL})\n"
        "with unfilled(): new_model(config, 211, Heads(mlm=True))\n"
        "assert 'sympy' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_context_is_learned_sooner() -> None:
    """Every second word follows from the one before. By chance only how frequent words are is learned: ln 37 = 3.61."""
    torch.manual_seed(1)
    after = torch.randperm(WORDS)
    firsts = torch.randint(0, WORDS, (200, 8, LENGTH // 2))
    texts = torch.stack([firsts, after[firsts]], dim=-1).flatten(2)  # (steps, B, T)
    masked = torch.zeros_like(texts[0], dtype=torch.bool)
    masked[:, 1::2] = True
    losses = {}
    for local in (True, False):
        model = make(local_init=local).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        warmup = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.05, total_iters=20)
        for tokens in texts:
            states = model(tokens.masked_fill(masked, V - 1))
            logits = model.transform(states[masked]) @ model.decoder_weight.T + model.decoder_bias
            loss = cross_entropy(logits, tokens[masked])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            warmup.step()
        losses[local] = loss.item()
    assert losses[True] < 1 < 3 < losses[False], losses
