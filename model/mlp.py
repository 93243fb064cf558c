"""The feed-forward layer: SwiGLU (Shazeer, 2020)."""

from __future__ import annotations

from torch import Tensor, nn

from model.config import ModelConfig


class FeedForward(nn.Module):
    """`down(silu(gate(x)) * up(x))`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        inner, self.dropout = config.feed_forward_size, config.dropout
        self.gate_proj = nn.Linear(config.hidden_size, inner, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, inner, bias=False)
        self.down_proj = nn.Linear(inner, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        gated: Tensor = nn.functional.silu(self.gate_proj(x)) * self.up_proj(x)
        out: Tensor = self.down_proj(gated)
        return nn.functional.dropout(out, self.dropout, self.training)
