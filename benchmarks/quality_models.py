"""What `benchmarks.quality` compares: our decoder and nanoGPT's of the same size, under AdamW or Muon."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.nanogpt import load_gpt
from foundation.errors import UserError
from model.config import ModelConfig
from model.decoder import Decoder
from shards.packing import IGNORE

LAYERS, HEADS, WIDTH, SEQUENCE = 4, 4, 512, 256
BETAS, DECAY = (0.9, 0.95), 0.1


class NanoGPT(nn.Module):
    """nanoGPT's model with its own initialisation and loss, called as ours is."""

    def __init__(self, directory: Path, vocab_size: int) -> None:
        super().__init__()
        sizes = {"layers": LAYERS, "heads": HEADS, "width": WIDTH, "length": SEQUENCE, "vocab_size": vocab_size}
        self.gpt = load_gpt(directory, **sizes)

    def forward(self, tokens: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Summed nats and the number of predicted tokens, for (B, T) int64 each."""
        counted = targets != IGNORE
        _, mean = self.gpt(tokens, torch.where(counted, targets, -1))  # -1 is what nanoGPT does not predict
        return mean * counted.sum(), counted.sum()


def build_model(kind: str, nanogpt: Path | None, vocab_size: int) -> nn.Module:
    """The model of one side, initialised from torch's global generator."""
    if kind == "ours":
        shape = {"num_attention_heads": HEADS, "num_key_value_heads": HEADS, "max_position_embeddings": SEQUENCE}
        return Decoder(ModelConfig(hidden_size=WIDTH, num_hidden_layers=LAYERS, **shape), vocab_size)
    if nanogpt is None:
        raise UserError("--model nanogpt needs --nanogpt, a directory with nanoGPT's model.py")
    return NanoGPT(nanogpt, vocab_size)


def build_optimizers(model: nn.Module, kind: str) -> list[torch.optim.Optimizer]:
    """AdamW for everything; or Muon, with updates as large as AdamW's, for the blocks' matrices and AdamW for the
    embeddings and norms. Learning rates are set at each step."""
    parameters = list(model.parameters())
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    matrices = [p for p in parameters if kind == "muon" and p.ndim == 2 and id(p) not in embeddings]
    taken = {id(p) for p in matrices}
    rest = [p for p in parameters if id(p) not in taken]
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": DECAY},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=0.0, betas=BETAS, fused=True)]
    if matrices:
        optimizers.append(torch.optim.Muon(matrices, lr=0.0, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw"))
    return optimizers
