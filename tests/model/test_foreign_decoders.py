"""Decoders of other people: what `transformers` wrote computes the same here, or is refused by name; and back again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from foundation.errors import UserError
from model.build import new_model
from model.config import ModelConfig
from model.directory import load_model_directory, save_model_directory

KINDS: dict[str, tuple[Any, Any]] = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
}
SIZES: dict[str, Any] = {
    "hidden_size": 30,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "intermediate_size": 37,
    "vocab_size": 101,
    "max_position_embeddings": 61,
}
LLAMA3 = {"rope_type": "llama3", "factor": 5.0, "low_freq_factor": 1.0, "high_freq_factor": 3.0,
          "original_max_position_embeddings": 23}  # fmt: skip


def foreign(path: Path, kind: str, **changes: Any) -> Any:
    """A random model of `transformers`, saved to `path`."""
    torch.manual_seed(0)
    config, model = KINDS[kind]
    if kind == "mistral":
        changes = {"sliding_window": None, **changes}
    made = model(config(**{**SIZES, **changes})).eval()
    for name, parameter in made.named_parameters():  # biases of zero and norms of one would hide that they are left out
        low, high = (0.5, 1.5) if "norm" in name else (-0.5, 0.5)
        torch.nn.init.uniform_(parameter, low, high)
    made.save_pretrained(path)
    return made


def farthest(ours: Any, theirs: Any) -> float:
    """The largest difference of the logits of two rows of 59 tokens."""
    tokens = torch.randint(0, 101, (2, 59), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        reference = theirs(tokens).logits
        assert reference.std() > 0.5  # or the comparison would say little
        return float((ours(tokens) - reference).abs().max())


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("llama", {"tie_word_embeddings": True}),
        ("llama", {"head_dim": 14, "rope_parameters": {"rope_type": "default", "rope_theta": 523.0}}),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 100.0}}),
        ("llama", {"rope_parameters": {**LLAMA3, "rope_theta": 100.0}}),
        ("mistral", {}),
        ("qwen2", {"tie_word_embeddings": True}),
        ("qwen2", {"rope_parameters": {**LLAMA3, "rope_theta": 100.0}}),
        ("qwen3", {"head_dim": 8, "rope_parameters": {"rope_type": "default", "rope_theta": 523.0}}),
    ],
)
def test_the_logits_are_those_of_transformers_there_and_back(
    tmp_path: Path, kind: str, changes: dict[str, Any]
) -> None:
    theirs = foreign(tmp_path / "theirs", kind, **changes)
    loaded = load_model_directory(tmp_path / "theirs")
    assert farthest(loaded.model, theirs) < 1e-4
    save_model_directory(tmp_path / "ours", loaded.model, tokenizer_files={}, generation=None, mateconv={})
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "ours", trust_remote_code=False)
    assert type(again).__name__ == f"{'Llama' if kind == 'mistral' else kind.capitalize()}ForCausalLM"
    assert farthest(loaded.model, again) < 1e-4
    read = load_model_directory(tmp_path / "ours").config
    assert read.model_dump(exclude={"head_dim"}) == loaded.config.model_dump(exclude={"head_dim"})


def _rewrite(path: Path, without: tuple[str, ...] = (), **values: Any) -> Path:
    config = {key: value for key, value in json.loads((path / "config.json").read_text()).items() if key not in without}
    (path / "config.json").write_text(json.dumps({**config, **values}))
    return path


@pytest.mark.parametrize("scaling", [{"type": "linear", "factor": 3.0}, LLAMA3])
def test_rope_is_understood_in_the_words_of_transformers_4(tmp_path: Path, scaling: dict[str, Any]) -> None:
    kind = scaling.get("rope_type", "linear")
    new = {"rope_type": kind, **{k: v for k, v in scaling.items() if k != "type"}, "rope_theta": 100.0}
    theirs = foreign(tmp_path, "llama", rope_parameters=new)
    _rewrite(tmp_path, ("rope_parameters",), rope_theta=100.0, rope_scaling=scaling)
    assert farthest(load_model_directory(tmp_path).model, theirs) < 1e-4


def test_sizes_that_are_missing_are_those_of_transformers(tmp_path: Path) -> None:
    theirs = foreign(tmp_path, "qwen3", num_attention_heads=2, num_key_value_heads=2, head_dim=128)
    _rewrite(tmp_path, ("head_dim", "rope_parameters", "rms_norm_eps", "tie_word_embeddings"))
    assert farthest(load_model_directory(tmp_path).model, theirs) < 1e-4


@pytest.mark.parametrize(
    ("kind", "values", "says"),
    [
        ("llama", {"attention_bias": True}, "attention_bias"),
        ("llama", {"mlp_bias": True}, "mlp_bias"),
        ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "'yarn'"),
        ("llama", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "'dynamic'"),
        ("llama", {"rope_parameters": {"rope_type": "longrope"}}, "'longrope'"),
        ("llama", {"rope_parameters": {"rope_type": "llama3", "factor": 2.0}}, "low_freq_factor"),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 0.5}}, "factor"),
        ("llama", {"rope_parameters": [1]}, "rope_parameters"),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ("mistral", {"sliding_window": 4096}, "sliding windows"),
        ("qwen2", {"use_sliding_window": True}, "use_sliding_window"),
        ("qwen3", {"layer_types": ["full_attention", "sliding_attention"]}, "sliding windows"),
        ("llama", {"quantization_config": {"quant_method": "fp8"}}, "quantization_config"),
        ("llama", {"model_type": "gemma3_text"}, "gemma3_text"),
    ],
)
def test_what_our_decoder_does_not_have_is_named(tmp_path: Path, kind: str, values: dict[str, Any], says: str) -> None:
    foreign(tmp_path, kind)
    with pytest.raises(UserError, match=says) as caught:
        load_model_directory(_rewrite(tmp_path, **values))
    assert str(tmp_path / "config.json") in str(caught.value)


def test_new_biases_are_zero_and_are_learned() -> None:
    torch.manual_seed(0)
    model = new_model(ModelConfig(qkv_bias=True, hidden_size=12, num_attention_heads=2, num_key_value_heads=1), 37)
    biases = {name: parameter for name, parameter in model.named_parameters() if name.endswith(".bias")}
    assert {name.split(".")[-2] for name in biases} == {"q_proj", "k_proj", "v_proj"} and len(biases) == 12
    assert all(not parameter.any() for parameter in biases.values())
    tokens = torch.randint(0, 37, (2, 7))
    loss, _ = model(tokens, targets=tokens)
    loss.backward()
    assert all(parameter.grad is not None and parameter.grad.any() for name, parameter in biases.items()
               if "k_proj" not in name)  # fmt: skip


def test_the_three_products_in_one_are_the_three() -> None:
    """Training multiplies queries, keys and values at once, generation one by one."""
    torch.manual_seed(0)
    model = new_model(ModelConfig(qkv_bias=True, hidden_size=12, num_attention_heads=2, num_key_value_heads=1), 37)
    for name, parameter in model.named_parameters():
        if name.endswith(".bias"):
            torch.nn.init.normal_(parameter)
    tokens = torch.randint(0, 37, (2, 7))
    with torch.no_grad():
        apart = model(tokens)
    assert (model(tokens) - apart).abs().max() < 1e-5
