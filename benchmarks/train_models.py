"""The models that `benchmarks.train_step` times: ours, nanoGPT's own, and GPT-2 and Llama of `transformers`.

Each is called with tokens and targets, (B, T) int64 each, and gives the mean loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.nanogpt import load_gpt
from model.config import ModelConfig
from model.decoder import Decoder
from model.interop import to_transformers

NAMES = ("ours", "nanogpt", "gpt2", "llama")


@dataclass(frozen=True)
class Shape:
    """What the models have in common."""

    layers: int
    heads: int
    width: int
    vocab_size: int
    length: int
    key_heads: int
    """Key and value heads of our model and of Llama; the others give every head its own."""
    inner: int
    """Width of their feed-forward layer, chosen so that all have the same number of parameters."""

    def config(self, **changes: Any) -> ModelConfig:
        """Our configuration."""
        return ModelConfig(
            hidden_size=self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.key_heads,
            intermediate_size=self.inner,
            max_position_embeddings=self.length,
            **changes,
        )


class Ours(nn.Module):
    """Our decoder."""

    def __init__(self, shape: Shape, **changes: Any) -> None:
        super().__init__()
        self.decoder = Decoder(shape.config(**changes), shape.vocab_size)

    def forward(self, tokens: Tensor, targets: Tensor, segments: Tensor | None = None) -> Tensor:
        """The mean loss; `segments` are the borders of documents, where attention shall stop at them."""
        loss, count = self.decoder.loss(tokens, targets, segments)
        return loss / count


class NanoGPT(nn.Module):
    """nanoGPT's model.py from a checkout of it (github.com/karpathy/nanoGPT)."""

    def __init__(self, shape: Shape, directory: Path | None) -> None:
        super().__init__()
        sizes = {"layers": shape.layers, "heads": shape.heads, "width": shape.width}
        self.gpt = load_gpt(directory, length=shape.length, vocab_size=shape.vocab_size, **sizes)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """The mean loss."""
        loss: Tensor = self.gpt(tokens, targets)[1]
        return loss


class Transformers(nn.Module):
    """A causal model of `transformers`, its loss computed as its own Trainer would."""

    def __init__(self, shape: Shape, kind: str) -> None:
        super().__init__()
        import transformers

        model: Any
        if kind == "gpt2":
            sizes = {"n_layer": shape.layers, "n_head": shape.heads, "n_embd": shape.width}
            drop = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
            config: Any = transformers.GPT2Config(
                vocab_size=shape.vocab_size, n_positions=shape.length, use_cache=False, **sizes, **drop
            )
            model = transformers.GPT2LMHeadModel(config)
        else:
            values = to_transformers(shape.config(), shape.vocab_size, torch.float32)
            config = transformers.LlamaConfig(**values, use_cache=False)
            model = transformers.LlamaForCausalLM(config)
        self.model: nn.Module = model

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """The mean loss."""
        loss: Tensor = self.model(input_ids=tokens, labels=targets, shift_labels=targets).loss
        return loss


def build(name: str, shape: Shape, nanogpt: Path | None) -> nn.Module:
    """The model called `name`, from the same seed each time."""
    torch.manual_seed(0)
    makers: Mapping[str, Callable[[], nn.Module]] = {
        "ours": lambda: Ours(shape),
        "nanogpt": lambda: NanoGPT(shape, nanogpt),
        "gpt2": lambda: Transformers(shape, "gpt2"),
        "llama": lambda: Transformers(shape, "llama"),
    }
    return makers[name]()


def parameters_of(model: nn.Module) -> int:
    """Number of distinct weights."""
    return sum(parameter.numel() for parameter in model.parameters())
