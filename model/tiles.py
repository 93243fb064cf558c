"""Causal attention of whole rows on a CPU, tile by tile: matrix products that stay in the cache.

torch's fused kernel for CPUs keeps nothing but the output and computes all scores again in backward, in small products
of its own. For rows of some hundred tokens it is faster to keep the attention weights and to leave every product to the
BLAS (measured on x86 with bfloat16 units, 8 heads of 32, 16 rows of 256 tokens, forward and backward: 21 ms against 40,
in float32 31 against 32; with borders of documents 19 against 41 and 29 against 33). A tile is a span of queries with
all keys up to its end, so that little of the upper triangle is computed.

Axes: B batch, T tokens, H query heads, G key and value heads, R = H / G, S queries in a tile, N keys of a tile, D head.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

ROWS = 64  # of one matrix product, about: the queries of a tile, of all heads that share keys
KEPT = 2**26  # attention weights of one layer that may be kept; with more, the fused kernel takes over
SHORTEST = 32  # tokens; below, there is nothing to gain


def pays(queries: Tensor, keys: Tensor) -> bool:
    """Whether tiles serve these queries (B, H, T, D) and keys (B, G, T, D)."""
    B, H, T, _ = queries.shape
    return queries.device.type == "cpu" and keys.shape[2] == T >= SHORTEST and B * H * T * T // 2 <= KEPT


def attend_tiles(queries: Tensor, keys: Tensor, values: Tensor, visible: Tensor | None) -> Tensor:
    """Attention (B, H, T, D) of queries (B, H, T, D) over keys and values (B, G, T, D), all of one dtype.

    `visible` is a bool mask (B, 1, T, T) that shows nothing of the future; None: everything up to the query itself.
    """
    hidden = None if visible is None else ~visible
    mixed: Tensor = _attend(queries, keys, values, hidden)[0]
    return mixed


def _spans(groups: int, heads: int, length: int) -> Iterator[tuple[int, int]]:
    """Where each tile's queries begin and end. Long rows take larger ones, so that their number stays small."""
    step = max(ROWS * groups // heads, length // 16, 1)
    for start in range(0, length, step):
        yield start, min(start + step, length)


# One operation for torch.compile, which would unroll the tiles into hundreds of small kernels.
@torch.library.custom_op("mateconv::attend_tiles", mutates_args=())
def _attend(queries: Tensor, keys: Tensor, values: Tensor, hidden: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    """What `attend_tiles` gives, and the attention weights of every tile (B * G, R * S, N)."""
    (B, H, T, D), G = queries.shape, keys.shape[1]
    R = H // G
    rows = queries.reshape(B, G, R, T, D) * D**-0.5
    keys, values = keys.reshape(B * G, T, D), values.reshape(B * G, T, D)
    out = torch.empty(B, T, G, R, D, dtype=queries.dtype).permute(0, 2, 3, 1, 4)  # (B, G, R, T, D)
    kept = []
    for start, stop in _spans(G, H, T):
        S = stop - start
        tile = rows[:, :, :, start:stop].reshape(B * G, R * S, D)
        scores = torch.bmm(tile, keys[:, :stop].transpose(1, 2)).view(B, G, R, S, stop)
        if hidden is None:
            future = torch.ones(S, S, dtype=torch.bool).triu_(1)
            scores[..., start:].masked_fill_(future, -torch.inf)
        else:
            scores.masked_fill_(hidden[:, :, None, start:stop, :stop], -torch.inf)
        weights = torch.softmax(scores, dim=-1).view(B * G, R * S, stop)  # sums in float32 whatever the dtype
        out[:, :, :, start:stop] = torch.bmm(weights, values[:, :stop]).view(B, G, R, S, D)
        kept.append(weights)
    return out.view(B, H, T, D), kept


@_attend.register_fake
def _(queries: Tensor, keys: Tensor, values: Tensor, hidden: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    (B, H, T, D), G = queries.shape, keys.shape[1]
    out = queries.new_empty(B, T, H, D).transpose(1, 2)
    return out, [queries.new_empty(B * G, H // G * (stop - start), stop) for start, stop in _spans(G, H, T)]


@torch.library.custom_op("mateconv::attend_tiles_backward", mutates_args=())
def _backward(
    upstream: Tensor, queries: Tensor, keys: Tensor, values: Tensor, kept: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of queries, keys and values. Those that several tiles add to are summed in float32 at least."""
    (B, H, T, D), G = queries.shape, keys.shape[1]
    R, scale = H // G, D**-0.5
    rows, upstream = queries.reshape(B, G, R, T, D), upstream.reshape(B, G, R, T, D)
    keys, values = keys.reshape(B * G, T, D), values.reshape(B * G, T, D)
    precise = torch.promote_types(queries.dtype, torch.float32)
    of_rows = torch.empty(B, T, G, R, D, dtype=queries.dtype).permute(0, 2, 3, 1, 4)
    of_keys = torch.zeros(B * G, T, D, dtype=precise)
    of_values = torch.zeros(B * G, T, D, dtype=precise)
    for (start, stop), weights in zip(_spans(G, H, T), kept, strict=True):
        S = stop - start
        tile = rows[:, :, :, start:stop].reshape(B * G, R * S, D)
        above = upstream[:, :, :, start:stop].reshape(B * G, R * S, D)
        of_values[:, :stop] += torch.bmm(weights.transpose(1, 2), above)
        of_weights = torch.bmm(above, values[:, :stop].transpose(1, 2))
        of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
        of_rows[:, :, :, start:stop] = (torch.bmm(of_scores, keys[:, :stop]) * scale).view(B, G, R, S, D)
        of_keys[:, :stop] += torch.bmm(of_scores.transpose(1, 2), tile) * scale
    return (
        of_rows.view(B, H, T, D),
        of_keys.to(queries.dtype).view(B, G, T, D),
        of_values.to(queries.dtype).view(B, G, T, D),
    )


@_backward.register_fake
def _(
    upstream: Tensor, queries: Tensor, keys: Tensor, values: Tensor, kept: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    (B, H, T, D), G = queries.shape, keys.shape[1]
    return queries.new_empty(B, T, H, D).transpose(1, 2), queries.new_empty(B, G, T, D), queries.new_empty(B, G, T, D)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, list[Tensor]]) -> None:
    ctx.save_for_backward(*inputs[:3], *output[1])


def _differentiate(ctx: Any, upstream: Tensor, _: object) -> tuple[Tensor | None, ...]:
    queries, keys, values, *kept = ctx.saved_tensors
    return *_backward(upstream, queries, keys, values, kept), None


_attend.register_autograd(_differentiate, setup_context=_keep)
