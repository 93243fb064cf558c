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
from torch.nn.functional import scaled_dot_product_attention

varlen_attn: Callable[..., Any] | None
try:
    if torch.version.cuda is None and torch.version.hip is None:
        raise ImportError  # nothing to call it on; importing it takes as long as all else of torch
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # or a build of torch without it: the mask serves every device
    varlen_attn = None

FLASH_DTYPES = (torch.float16, torch.bfloat16)
# Measured on x86 in bfloat16, forward and backward of 4,096 tokens: in rows of 512 a mask over tiles takes 37 to 41 ms
# and the pieces one by one 63, at 1024 both 62, at 2048 the tiles 120 and the pieces 60.
# In float32 there are no tiles, and a mask makes the step 14% slower at 1024.
LONG_ROW, LONG_PRECISE_ROW = 2048, 512


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


def attends_by_segments(device: torch.device, dtype: torch.dtype, length: int, head_size: int) -> bool:
    """Whether `attend_by_segments` serves queries of `dtype` and width `head_size` on `device` in rows of `length`
    tokens; else a mask does.

    On a CPU the pieces one by one pay in long rows only, and not in compiled code, whose shapes they would change with
    every batch.
    """
    if device.type == "cuda":
        return varlen_serves(device, dtype, head_size)
    long = LONG_ROW if dtype == torch.bfloat16 else LONG_PRECISE_ROW
    return device.type == "cpu" and length >= long and not torch.compiler.is_compiling()


def attend_by_segments(queries: Tensor, keys: Tensor, values: Tensor, segments: Tensor) -> Tensor:
    """Causal attention inside each piece: queries (B, H, T, D), keys and values (B, G, T, D) -> (B, H, T, D).

    No pair of tokens from two pieces costs anything.
    """
    attend = attend_varlen if queries.device.type == "cuda" else attend_pieces
    return attend(queries, keys, values, segments)


def attend_pieces(queries: Tensor, keys: Tensor, values: Tensor, segments: Tensor) -> Tensor:
    """`attend_by_segments` one piece after the other."""
    B, H, T, _ = queries.shape
    lengths: list[list[int]] = [[] for _ in range(B)]
    start = 0
    for length in segments.diff().tolist():
        if length:
            lengths[start // T].append(length)
            start += length
    rows = []
    for row in zip(queries.unbind(), keys.unbind(), values.unbind(), lengths, strict=True):
        pieces = zip(*(x.split(row[3], dim=1) for x in row[:3]), strict=True)  # (H or G, length, D)
        mixed = [
            scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True, enable_gqa=keys.shape[1] != H)
            for q, k, v in pieces
        ]
        rows.append(torch.cat(mixed, dim=2))  # (1, H, T, D)
    return torch.cat(rows)


def varlen_serves(device: torch.device, dtype: torch.dtype, head_size: int) -> bool:
    """Whether `attend_varlen` runs on this CUDA device: flash attention wants half precision, Ampere or later, and
    heads of a width that its kernels were built for.

    Those are multiples of 8 up to 256; nothing fills narrower heads up as `scaled_dot_product_attention` does. From 200
    to 224 backward fails on GPUs with less shared memory than the A100 (compute capability 8.6, 8.9 and 12.0).
    """
    built = head_size % 8 == 0 and (head_size <= 192 or 224 < head_size <= 256)
    half = built and varlen_attn is not None and dtype in FLASH_DTYPES
    return half and torch.cuda.get_device_capability(device)[0] >= 8


def attend_varlen(
    queries: Tensor, keys: Tensor, values: Tensor, segments: Tensor, reach: tuple[int, int] | None = None
) -> Tensor:
    """`attend_by_segments` in one call of flash attention (Dao, FlashAttention-2, 2023).

    `reach`: how many tokens each one sees before and behind it, -1 for all; None: all before it.
    """
    B, H, T, D = queries.shape
    arguments: dict[str, Any] = dict(VARLEN_CAUSAL) if reach is None else {"window_size": reach}
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
