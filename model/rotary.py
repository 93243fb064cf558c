"""Rotary position embedding (Su et al., 2021) in the rotate-half layout of Llama's released weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from model.rope_scaling import RopeScaling


class Rotary(nn.Module):
    """Tables of cosines and sines, one row a position. They stay float32 whatever the model's dtype.

    Half precision would merge neighbouring positions from about 256 on, so `model.to(bfloat16)` moves the
    tables to the new device but leaves their precision alone.
    """

    cos: Tensor  # (positions, head/2) float32
    sin: Tensor

    def __init__(self, head_size: int, positions: int, theta: float, scaling: RopeScaling | None = None) -> None:
        super().__init__()
        self.head_size, self.positions, self.theta, self.scaling = head_size, positions, theta, scaling
        self._build(torch.get_default_device())

    def _build(self, device: torch.device) -> None:
        if device.type == "meta":  # a shape is enough, and arange would import a second's worth of modules there
            for name in ("cos", "sin"):
                empty = torch.empty(self.positions, -(-self.head_size // 2), device=device)
                self.register_buffer(name, empty, persistent=False)
            return
        exponents = torch.arange(0, self.head_size, 2, dtype=torch.float32, device=device) / self.head_size
        frequencies = 1.0 / self.theta**exponents
        if self.scaling is not None:
            frequencies = self.scaling.lowered(frequencies)
        angles = torch.outer(torch.arange(self.positions, dtype=torch.float32, device=device), frequencies)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._build(self.cos.device)
        return self

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Positions (T,) or (B, T) int64 -> cosines and sines, (T, D/2) or (B, 1, T, D/2)."""
        cos, sin = self.cos[positions], self.sin[positions]
        return (cos, sin) if positions.dim() == 1 else (cos[:, None], sin[:, None])


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn (B, H, T, D) by its positions' angles, in float32; dimension i pairs with i + D/2."""
    first, second = x.to(torch.promote_types(x.dtype, torch.float32)).chunk(2, dim=-1)  # (B, H, T, D/2)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)
