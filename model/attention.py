"""Causal self-attention with grouped queries, rotary positions and, on request, normalised queries and keys.

Axes: B batch, T tokens read now, S tokens attended to, C width, H query heads, G key and value heads, D head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, linear, scaled_dot_product_attention

from model import tiles
from model.config import ModelConfig
from model.documents import FLASH_DTYPES, attend_by_segments
from model.kv_cache import TokenCache
from model.norm import RMSNorm
from model.rotary import rotate


class Attention(nn.Module):
    """One attention layer. The names of its parts are those of Llama (with `qk_norm` Qwen3, with `qkv_bias` Qwen2)."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.dropout = layer, config.dropout
        self.heads, self.groups, self.size = (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_size,
        )
        self.q_proj = nn.Linear(config.hidden_size, self.heads * self.size, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.hidden_size, self.groups * self.size, bias=config.qkv_bias)
        self.v_proj = nn.Linear(config.hidden_size, self.groups * self.size, bias=config.qkv_bias)
        self.o_proj = nn.Linear(self.heads * self.size, config.hidden_size, bias=False)
        self.q_norm = RMSNorm(self.size, config.rms_norm_eps) if config.qk_norm else None
        self.k_norm = RMSNorm(self.size, config.rms_norm_eps) if config.qk_norm else None

    def forward(
        self,
        x: Tensor,
        rotation: tuple[Tensor, Tensor],
        visible: Tensor | None,
        cache: TokenCache | None,
        segments: Tensor | None = None,
    ) -> Tensor:
        """(B, T, C) -> (B, T, C).

        `rotation` holds cosines and sines of the positions; `visible` is a bool mask over (T, S) as
        `KVCache.begin` or `visible_within` gives it, None meaning causal (or everything, for one token over a
        cache). `segments` (see `model.documents`) take the place of a mask where `attends_by_segments`.
        """
        B, T, _ = x.shape
        queries, keys, values = (part.view(B, T, -1, self.size) for part in self._project(x))
        values = values.transpose(1, 2)  # (B, G, T, D)
        if self.q_norm is not None and self.k_norm is not None:
            queries, keys = self.q_norm(queries), self.k_norm(keys)
        queries = rotate(queries.transpose(1, 2), *rotation)  # (B, H, T, D)
        keys = rotate(keys.transpose(1, 2), *rotation)  # (B, G, T, D)
        if cache is not None:
            keys, values = cache.update(self.layer, keys, values)  # (B, G, S, D)
        if segments is not None:
            mixed = attend_by_segments(queries, keys, values, segments)  # (B, H, T, D)
        else:
            mixed = self._attend(queries, keys, values, visible)  # (B, H, T, D)
        out: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(B, T, self.heads * self.size))
        return dropout(out, self.dropout, self.training)

    def _project(self, x: Tensor) -> Sequence[Tensor]:
        """Queries (B, T, H * D), keys and values (B, T, G * D)."""
        parts = (self.q_proj, self.k_proj, self.v_proj)
        if not torch.is_grad_enabled():
            return [part(x) for part in parts]
        # In training one product for all three: backward then adds up no three gradients of x.
        biases: list[Tensor] = [part.bias for part in parts if part.bias is not None]
        whole = linear(x, torch.cat([part.weight for part in parts]), torch.cat(biases) if biases else None)
        sizes = [part.out_features for part in parts]
        return torch.split(whole, sizes, dim=-1)

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, visible: Tensor | None) -> Tensor:
        B, H, T, D = queries.shape
        if T == 1:
            # All query heads of a group look at the same keys, so they can stand on the query axis: nothing
            # is expanded. `visible` is (B, 1, 1, S) or None and broadcasts over both axes.
            grouped = queries.view(B, self.groups, H // self.groups, D)
            return scaled_dot_product_attention(grouped, keys, values, attn_mask=visible).view(B, H, 1, D)
        dropped = self.dropout if self.training else 0.0
        if not dropped and tiles.pays(queries, keys):
            return tiles.attend_tiles(queries, keys, values, visible)
        groups = self.groups != H
        if groups and not kernel_groups(queries.device, queries.dtype, self.size, visible is not None):
            groups = False
            keys, values = (x.repeat_interleave(H // self.groups, dim=1) for x in (keys, values))
        return scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=visible,
            dropout_p=dropped,
            is_causal=visible is None,
            enable_gqa=groups,
        )


def kernel_groups(device: torch.device, dtype: torch.dtype, head_size: int, masked: bool) -> bool:
    """Whether attention over fewer key heads than query heads has a fast kernel.

    On CUDA that is flash attention alone, which takes half precision, heads of up to 256 and no mask. Elsewhere torch
    falls back on the plain formula, which keeps all (T, S) scores in memory; with a key head for each query head it
    need not.
    """
    return device.type != "cuda" or (dtype in FLASH_DTYPES and head_size <= 256 and not masked)
