"""nanoGPT's model.py as it stands in a checkout of github.com/karpathy/nanoGPT."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from torch import nn

from foundation.errors import UserError


def load_gpt(directory: Path | None, *, layers: int, heads: int, width: int, length: int, vocab_size: int) -> nn.Module:
    """Its GPT with its own initialisation, without biases and dropout; `directory` is the checkout.

    Called with tokens and targets, (B, T) int64 each, it gives logits and the mean loss; -1 is not predicted.
    """
    path = (directory or Path()) / "model.py"
    spec = importlib.util.spec_from_file_location("nanogpt_model", path)
    if directory is None or not path.is_file() or spec is None or spec.loader is None:
        raise UserError(f"{path}: no model.py there; --nanogpt takes a checkout of github.com/karpathy/nanoGPT")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    shape = {"n_layer": layers, "n_head": heads, "n_embd": width, "dropout": 0.0, "bias": False}
    gpt: nn.Module = module.GPT(module.GPTConfig(block_size=length, vocab_size=vocab_size, **shape))
    return gpt
