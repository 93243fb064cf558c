"""Root-mean-square normalisation (Zhang and Sennrich, 2019), computed in float32 at least."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """`x / sqrt(mean(x^2) + eps) * weight` over the last axis; the result has the dtype of `x`."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., width)."""
        precise = torch.promote_types(x.dtype, torch.float32)
        return nn.functional.rms_norm(x.to(precise), self.weight.shape, self.weight.to(precise), self.eps).to(x.dtype)
