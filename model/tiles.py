"""Causal attention of whole rows on a CPU, tile by tile: matrix products that stay in the cache.

torch's fused kernel for CPUs keeps nothing but the output and computes all scores again in backward, in small products
of its own. For rows of some hundred tokens it is faster to keep the attention weights and to leave every product to the
BLAS (measured on x86 with bfloat16 units, 8 heads of 32, 16 rows of 256 tokens, forward and backward: 21 to 25 ms
against 40 to 44, with borders of documents 19 to 23 against 41 to 45). A tile is a span of queries with all keys up to
its end, so that little of the upper triangle is computed.

Axes: B batch, T tokens, H query heads, G key and value heads, P = B * G, R = H / G, S tokens and N keys of a tile,
D head.
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
    if queries.device.type != "cpu" or queries.dtype != torch.bfloat16:
        return False  # in float32 the fused kernel is as fast, and keeps nothing
    return keys.shape[2] == T >= SHORTEST and B * H * T * T // 2 <= KEPT


def attend_tiles(queries: Tensor, keys: Tensor, values: Tensor, visible: Tensor | None) -> Tensor:
    """Attention (B, H, T, D) of queries (B, H, T, D) over keys and values (B, G, T, D), all of one dtype.

    `visible` is a bool mask (B, 1, T, T) that shows nothing of the future; None: everything up to the query itself.
    """
    (B, H, T, D), G = queries.shape, keys.shape[1]
    # The queries that share keys stand together, so that the rows of a span of tokens are one block.
    rows = (queries * D**-0.5).view(B, G, H // G, T, D).transpose(2, 3).reshape(B * G, -1, D)  # (B * G, T * R, D)
    hidden = None if visible is None else ~visible
    mixed: Tensor = _attend(rows, keys.reshape(B * G, T, D), values.reshape(B * G, T, D), hidden)[0]
    return mixed.view(B, G, T, H // G, D).transpose(2, 3).reshape(B, H, T, D)


def _spans(heads: int, length: int) -> Iterator[tuple[int, int]]:
    """Where each tile's queries begin and end, for `heads` that share keys. Long rows take larger tiles, not more."""
    step = max(ROWS // heads, length // 16, 1)
    for start in range(0, length, step):
        yield start, min(start + step, length)


# One operation for torch.compile, which would unroll the tiles into hundreds of small kernels.
@torch.library.custom_op("mateconv::attend_tiles", mutates_args=())
def _attend(rows: Tensor, keys: Tensor, values: Tensor, hidden: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    """What (B * G, T * R, D) rows of queries gather from keys and values (B * G, T, D), and the attention weights of
    every tile (B * G, S * R, N). `hidden` is (B, 1, T, T)."""
    P, T, _ = keys.shape
    R = rows.shape[1] // T
    out, kept = torch.empty_like(rows), []
    for start, stop in _spans(R, T):
        S = stop - start
        scores = torch.bmm(rows[:, start * R : stop * R], keys[:, :stop].transpose(1, 2))  # (P, S * R, N)
        if hidden is None:
            future = torch.ones(S, S, dtype=torch.bool).triu_(1)[:, None]
            scores.view(P, S, R, stop)[..., start:].masked_fill_(future, -torch.inf)
        else:
            part = hidden[:, :, start:stop, None, :stop]  # (B, 1, S, 1, N)
            scores.view(hidden.shape[0], -1, S, R, stop).masked_fill_(part, -torch.inf)
        weights = torch.softmax(scores, dim=-1)  # sums in float32 whatever the dtype
        out[:, start * R : stop * R] = torch.bmm(weights, values[:, :stop])
        kept.append(weights)
    return out, kept


@_attend.register_fake
def _(rows: Tensor, keys: Tensor, values: Tensor, hidden: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    P, T, _ = keys.shape
    R = rows.shape[1] // T
    return torch.empty_like(rows), [rows.new_empty(P, (stop - start) * R, stop) for start, stop in _spans(R, T)]


@torch.library.custom_op("mateconv::attend_tiles_backward", mutates_args=())
def _backward(
    upstream: Tensor, rows: Tensor, keys: Tensor, values: Tensor, kept: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of rows, keys and values. Those that several tiles add to are summed in float32 at least."""
    T = keys.shape[1]
    R = rows.shape[1] // T
    precise = torch.promote_types(rows.dtype, torch.float32)
    of_rows = torch.empty_like(rows)
    of_keys, of_values = torch.zeros_like(keys, dtype=precise), torch.zeros_like(values, dtype=precise)
    for (start, stop), weights in zip(_spans(R, T), kept, strict=True):
        above = upstream[:, start * R : stop * R]
        of_values[:, :stop] += torch.bmm(weights.transpose(1, 2), above)
        of_weights = torch.bmm(above, values[:, :stop].transpose(1, 2))
        of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
        of_rows[:, start * R : stop * R] = torch.bmm(of_scores, keys[:, :stop])
        of_keys[:, :stop] += torch.bmm(of_scores.transpose(1, 2), rows[:, start * R : stop * R])
    return of_rows, of_keys.to(keys.dtype), of_values.to(values.dtype)


@_backward.register_fake
def _(
    upstream: Tensor, rows: Tensor, keys: Tensor, values: Tensor, kept: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(rows), torch.empty_like(keys), torch.empty_like(values)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, list[Tensor]]) -> None:
    ctx.save_for_backward(*inputs[:3], *output[1])


def _differentiate(ctx: Any, upstream: Tensor, _: object) -> tuple[Tensor | None, ...]:
    rows, keys, values, *kept = ctx.saved_tensors
    return *_backward(upstream.contiguous(), rows, keys, values, kept), None


_attend.register_autograd(_differentiate, setup_context=_keep)
