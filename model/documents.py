"""Documents that share a row: positions count from each one's start, and attention stays inside it.

`segments` are the borders of the pieces of documents in the flattened rows, (pieces + 1,) int32: ascending from 0 to
B * T, every row starting a piece. Behind them B * T may stand again any number of times, so that batches with different
numbers of pieces have the same shape.

Axes: B batch, T tokens, H query heads, G key and value heads, D head.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import torch
from torch import Tensor

varlen_attn: Callable[..., Any] | None
try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # a build of torch without it: the mask serves every device
    varlen_attn = None

FLASH_DTYPES = (torch.float16, torch.bfloat16)


def positions_within(segments: Tensor, batch: int, length: int) -> Tensor:
    """The position of each token in its own piece, (B, T) int64."""
    places = torch.arange(batch * length, device=segments.device)
    piece = torch.searchsorted(segments, places, right=True, out_int32=True) - 1
    return (places - segments[piece]).view(batch, length)


def visible_within(positions: Tensor) -> Tensor:
    """Which columns each token attends to, (B, 1, T, T) bool: its own piece up to itself. `positions` is (B, T)."""
    columns = torch.arange(positions.shape[1], device=positions.device)  # (T,)
    starts = columns - positions  # (B, T): the column at which each token's piece begins
    visible = (columns <= columns[:, None]) & (columns >= starts[..., None])  # (B, T, T)
    return visible[:, None]


def has_varlen(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether `attend_varlen` runs queries of `dtype` on `device`: flash attention wants half precision, Ampere or
    later."""
    if varlen_attn is None or device.type != "cuda" or dtype not in FLASH_DTYPES:
        return False
    return torch.cuda.get_device_capability(device)[0] >= 8


def attend_varlen(queries: Tensor, keys: Tensor, values: Tensor, segments: Tensor) -> Tensor:
    """Causal attention inside each piece: queries (B, H, T, D), keys and values (B, G, T, D) -> (B, H, T, D).

    No pair of tokens from two pieces costs anything (Dao, FlashAttention-2, 2023, in its variable-length form).
    """
    B, H, T, D = queries.shape
    arguments = dict(VARLEN_CAUSAL)
    if keys.shape[1] != H:
        if VARLEN_GROUPS:
            arguments["enable_gqa"] = True
        else:
            keys, values = (x.repeat_interleave(H // x.shape[1], dim=1) for x in (keys, values))
    flat = (x.transpose(1, 2).reshape(B * T, -1, D) for x in (queries, keys, values))
    assert varlen_attn is not None
    mixed: Tensor = varlen_attn(*flat, segments, segments, T, T, **arguments)  # (B * T, H, D)
    return mixed.view(B, T, H, D).transpose(1, 2)


def _varlen_arguments() -> tuple[dict[str, Any], bool]:
    """How this torch is told to be causal (2.10: a flag, later: a window), and whether it groups heads itself."""
    known = signature(varlen_attn).parameters if varlen_attn is not None else {}
    causal = {"window_size": (-1, 0)} if "window_size" in known else {"is_causal": True}
    return causal, "enable_gqa" in known


VARLEN_CAUSAL, VARLEN_GROUPS = _varlen_arguments()
