"""A run from a decoder of other people, as `transformers` saved it: its weights, its shape, its tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tests.training.conftest import TINY_RUN, Command
from tests.training.finetuning.conftest import good
from tokenization.tokenizer import Tokenizer

LLAMA3 = {"rope_type": "llama3", "factor": 5.0, "low_freq_factor": 1.0, "high_freq_factor": 3.0, "rope_theta": 100.0,
          "original_max_position_embeddings": 23}  # fmt: skip
KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "llama": (LlamaConfig, LlamaForCausalLM, {"rope_parameters": LLAMA3, "tie_word_embeddings": True}),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, {}),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 8}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_handed_out_is_what_it_started_from(
    kind: str, tmp_path: Path, dataset: Path, tokenizer: Tokenizer
) -> None:
    """With a rate of next to nothing; the model has more rows than its tokenizer tokens, as published ones have."""
    config, model, changes = KINDS[kind]
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "num_key_value_heads": 1,
             "intermediate_size": 20, "max_position_embeddings": 32, "vocab_size": 289}  # fmt: skip
    theirs = model(config(**{**sizes, **changes})).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, 1.0 if parameter.dim() == 1 else 0.0, 0.3)
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size="15KB")
    tokenizer.save(tmp_path / "theirs")
    where = ["--train_data_path", str(dataset), "--init_from", str(tmp_path / "theirs"), "--preflight", "false"]
    command = Command(tmp_path, [*TINY_RUN, *where])
    still = ("--learning_rate", "1e-30", "--weight_decay", "0", "--max_steps", "2", "--lr_scheduler", "constant")
    done = good(command.call(*still))
    assert "starting from" in done.stdout and "new:" not in done.stdout
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "final").eval()
    assert type(again) is model
    tokens = torch.randint(0, tokenizer.vocab_size, (2, 31), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before, after = theirs(tokens).logits[..., : tokenizer.vocab_size], again(tokens).logits
    assert after.shape == before.shape and (after - before).abs().max() < 1e-4
    if kind == "qwen2":
        good(command.call("--out_dir", "moved", "--max_steps", "2", "--optimizer", "muon"))
        learned = AutoModelForCausalLM.from_pretrained(tmp_path / "moved" / "final").state_dict()
        for name, tensor in theirs.state_dict().items():  # biases and norms learn, too
            assert not torch.equal(tensor[: len(learned[name])], learned[name]), name
