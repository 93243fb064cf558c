"""The promise of the model directory: `transformers` loads it with no custom code and computes the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from generation.config import GenerationConfig
from generation.engine import Engine, Request
from model.decoder import Decoder
from model.directory import load_model_directory, save_model_directory

Make = Callable[..., Decoder]
SHAPES: dict[str, dict[str, Any]] = {
    "grouped": {},
    "every head its own": {"num_key_value_heads": 3},
    "wide heads": {"num_attention_heads": 5, "num_key_value_heads": 5, "head_dim": 14},
    "another theta and epsilon": {"rope_theta": 523.0, "rms_norm_eps": 0.01},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("qk_norm", [False, True])
def test_same_logits_and_same_greedy_text(
    make_decoder: Make, tmp_path: Path, qk_norm: bool, tied: bool, shape: str
) -> None:
    model = make_decoder(qk_norm=qk_norm, tie_word_embeddings=tied, max_position_embeddings=89, **SHAPES[shape])
    save_model_directory(
        tmp_path / "m", model, tokenizer_files={}, generation={"pad_token_id": 7}, mateconv={"step": 3}
    )
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "m", trust_remote_code=False)
    assert type(theirs).__name__ == ("Qwen3ForCausalLM" if qk_norm else "LlamaForCausalLM")
    assert theirs.dtype == torch.float32
    tokens = torch.randint(0, 101, (3, 19))
    with torch.no_grad():
        own, reference = model(tokens), theirs(tokens).logits
    assert (own - reference).abs().max() < 1e-4
    assert reference.abs().max() > 1  # or the comparison would say little
    everything = torch.ones_like(tokens)  # or generate would take the random token 7 for padding
    expected = theirs.generate(tokens, attention_mask=everything, max_new_tokens=64, do_sample=False)
    config = GenerationConfig(max_new_tokens=64, do_sample=False)
    texts: list[list[int]] = [[], [], []]
    for token in Engine(model).stream([Request(row, config) for row in tokens.tolist()]):
        texts[token.request] += [] if token.token is None else [token.token]
    assert texts == expected[:, 19:].tolist()


def test_bfloat16_directories_load_as_bfloat16(make_decoder: Make, tmp_path: Path) -> None:
    model = make_decoder().to(torch.bfloat16)
    save_model_directory(tmp_path / "m", model, tokenizer_files={}, generation=None, mateconv={})
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "m").dtype == torch.bfloat16
    assert load_model_directory(tmp_path / "m").model.head_weight.dtype == torch.bfloat16
    assert load_model_directory(tmp_path / "m", dtype=torch.float32).model.head_weight.dtype == torch.float32


def test_token_ids_and_our_key_reach_transformers(make_decoder: Make, tmp_path: Path) -> None:
    save_model_directory(
        tmp_path / "m",
        make_decoder(),
        tokenizer_files={},
        generation={"bos_token_id": 2, "eos_token_id": [2, 5], "pad_token_id": 3},
        mateconv={"objective": "causal", "step": 17},
    )
    config = AutoConfig.from_pretrained(tmp_path / "m")
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (2, [2, 5], 3)
    assert config.vocab_size == 101 and config.head_dim == 10
    assert config.mateconv == {"objective": "causal", "step": 17}
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "m").generation_config.eos_token_id == [2, 5]


@pytest.mark.parametrize("shard", ["10GB", "20KB"])
def test_a_directory_that_transformers_wrote_loads_here(tmp_path: Path, shard: str) -> None:
    torch.manual_seed(0)
    theirs = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=30,
            num_hidden_layers=2,
            num_attention_heads=3,
            num_key_value_heads=1,
            intermediate_size=37,
            vocab_size=101,
            max_position_embeddings=61,
            initializer_range=0.3,
        )
    ).eval()
    theirs.save_pretrained(tmp_path, max_shard_size=shard)
    assert len(list(tmp_path.glob("*.safetensors"))) == (1 if shard == "10GB" else 4)
    model = load_model_directory(tmp_path).model
    tokens = torch.randint(0, 101, (2, 19))
    with torch.no_grad():
        assert (model(tokens) - theirs(tokens).logits).abs().max() < 1e-4
