"""What reads BERT's hidden states: the head of masked tokens, the pooler and the head of sentence pairs.

Axes: N positions, C width, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from model.config import ModelConfig
from model.encoder.heads import Heads


class Pooler(nn.Module):
    """What a whole piece is judged by, from its first token."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, first: Tensor) -> Tensor:
        """(N, C) -> (N, C), between -1 and 1."""
        return torch.tanh(self.dense(first))


class Transform(nn.Module):
    """What stands between the hidden state of a masked token and the decoder."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C) -> (N, C)."""
        out: Tensor = self.LayerNorm(gelu(self.dense(x)))
        return out


class Predictions(nn.Module):
    """The head of masked tokens; its matrix is the token embedding's unless the two are not tied."""

    def __init__(self, config: ModelConfig, padded_vocab_size: int) -> None:
        super().__init__()
        self.transform = Transform(config)
        self.bias = nn.Parameter(torch.zeros(padded_vocab_size))
        tied = config.tie_word_embeddings
        self.decoder = None if tied else nn.Linear(config.hidden_size, padded_vocab_size, bias=False)


class PretrainingHeads(nn.Module):
    """`cls.*` in the state dict."""

    def __init__(self, config: ModelConfig, padded_vocab_size: int, heads: Heads) -> None:
        super().__init__()
        self.predictions = Predictions(config, padded_vocab_size) if heads.mlm else None
        self.seq_relationship = nn.Linear(config.hidden_size, 2) if heads.nsp else None
