"""Attention of packed rows on a CPU, piece by piece: what lies in other pieces costs nothing.

torch's fused kernel for CPUs takes a mask and computes what it hides as well. Here a block is a whole piece, or several
short ones under a mask. Its scores stay in the cache, and its products are left to the BLAS. Blocks are widened to
multiples of `MULTIPLE` tokens, for the BLAS makes code for each new shape, and those of one size are computed together
as long as they fit the cache. Attention weights are kept for backward as long as that takes no more than `KEPT`.

Measured on x86 with bfloat16 units, 4,096 tokens of film reviews, 8 heads of 32, forward and backward: in rows of 256
tokens 23 ms against 74, in rows of 512 30 ms against 91.

Axes: B batch, T tokens, H heads, S tokens of a block, D head.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

MULTIPLE = 32  # tokens; a block's products have few shapes
SHORT = 128  # tokens; shorter pieces share a block
SHORTEST, LONG_PRECISE = 32, 256  # tokens of rows that the fused kernel serves as well, in bfloat16 and float32
TOGETHER = 2**20  # attention weights of blocks that are computed in one go
LEVELS = 2**16  # dropout is rounded to so many
KEPT = 2**26  # attention weights of one layer that may be kept; with more, backward computes them again


class Block(NamedTuple):
    """The tokens from `start` to `stop` of a row, one piece or several."""

    row: int
    start: int
    stop: int
    alone: bool
    """Whether they are one piece."""
    wide: slice
    """The block with neighbours, so that its size is a multiple; what is computed for them is thrown away."""

    @property
    def own(self) -> slice:
        """Where in `wide` the block lies."""
        return slice(self.start - self.wide.start, self.stop - self.wide.start)


def pieces_pay(dtype: torch.dtype, length: int, packed: bool, drops: bool) -> bool:
    """Whether this serves rows of `length` tokens, `packed` with pieces or not, better than the fused kernel."""
    if dtype == torch.bfloat16 or drops:  # the kernel does not drop weights: the plain formula would serve
        return length >= SHORTEST
    return packed and length > LONG_PRECISE  # in float32 the kernel is slow by its mask alone


Group = tuple[Block, ...]


def attend_pieces(queries: Tensor, keys: Tensor, values: Tensor, segments: Tensor, dropout: float = 0.0) -> Tensor:
    """Attention (B, H, T, D) of queries, keys and values (B, H, T, D) on a CPU, all of one dtype.

    `segments` are the borders of pieces (see `model.documents`), `dropout` is the share of weights that are dropped.
    """
    gradients = torch.is_grad_enabled() and any(x.requires_grad for x in (queries, keys, values))
    seed = torch.randint(2**62, (1,)) if dropout else torch.zeros(1, dtype=torch.int64)
    mixed: Tensor = _attend(queries, keys, values, segments, seed, dropout, gradients)[0]
    return mixed.transpose(1, 2)


def _blocks(borders: list[int], length: int) -> Iterator[Block]:
    """All tokens of all rows, in order: short neighbours of a row stand together as long as they stay short."""
    row, start, stop, count = 0, 0, 0, 0
    for begin, end in pairwise(borders):
        if begin == end:
            continue  # borders are repeated at the end, for the batch's shape
        if count and (begin // length != row or stop - start + end - begin > SHORT):
            yield Block(row, start, stop, count == 1, _widened(start, stop, length))
            count = 0
        if not count:
            row, start = begin // length, begin % length
        stop, count = begin % length + end - begin, count + 1
    if count:
        yield Block(row, start, stop, count == 1, _widened(start, stop, length))


def _widened(start: int, stop: int, length: int) -> slice:
    """start to stop, made a multiple of `MULTIPLE` where the row is long enough."""
    size = min(-(-(stop - start) // MULTIPLE) * MULTIPLE, length)
    start = min(start, length - size)
    return slice(start, start + size)


@lru_cache(maxsize=8)
def _groups(borders: bytes, length: int, heads: int) -> tuple[tuple[Block, ...], ...]:
    """Blocks of one size, as many as are computed together, for rows of `length` tokens with these borders (int32)."""
    groups, sizes = [], defaultdict(list)
    for block in _blocks(np.frombuffer(borders, np.int32).tolist(), length):
        sizes[block.wide.stop - block.wide.start].append(block)
    for size, blocks in sorted(sizes.items()):
        most = max(1, TOGETHER // (heads * size * size))
        groups += [tuple(blocks[first : first + most]) for first in range(0, len(blocks), most)]
    return tuple(groups)


class Plan:
    """The blocks of a batch, n of one size at a time, and what they have in common."""

    def __init__(self, queries: Tensor, segments: Tensor, seed: Tensor, dropout: float) -> None:
        B, H, T, D = queries.shape
        self.heads, self.scale = H, D**-0.5
        self.seed, self.dropped = int(seed), round(LEVELS * dropout)
        self.groups = _groups(segments.numpy().tobytes(), T, H)
        self.starts = torch.empty(0)
        """(B, T): where each token's piece begins."""
        if not all(block.alone for group in self.groups for block in group):
            self.starts = segments[:-1].repeat_interleave(segments.diff(), output_size=B * T).view(B, T)

    def each(self, kept: Tensor) -> Iterator[tuple[Group, Tensor | None]]:
        """Every group, with its place (n * H, S, S) in `kept` as long as there is room."""
        taken = 0
        for group in self.groups:
            S = group[0].wide.stop - group[0].wide.start
            size = len(group) * self.heads * S * S
            if taken + size > kept.numel():
                yield group, None
            else:
                yield group, kept[taken : taken + size].view(-1, S, S)
                taken += size

    def weights(self, group: Group, scaled: Tensor, keys: Tensor, out: Tensor | None) -> Tensor:
        """Attention weights (n * H, S, S) of scaled queries (n * H, S, D) over keys (n * H, S, D)."""
        scores = torch.bmm(scaled, keys.transpose(1, 2), out=out)
        S = scores.shape[1]
        parts = scores.split(self.heads)
        for block, part in zip(group, parts, strict=True):
            if not block.alone:
                starts = self.starts[block.row, block.wide]
                part += part.new_zeros(S, S).masked_fill_(starts[:, None] != starts, -torch.inf)
            elif block.stop - block.start < S:
                part[..., : block.own.start], part[..., block.own.stop :] = -torch.inf, -torch.inf
        torch._softmax(scores, -1, False, out=scores)  # sums in float32 whatever the dtype
        for block, part in zip(group, parts, strict=True):
            if block.stop - block.start < S:
                part[:, : block.own.start], part[:, block.own.stop :] = 0, 0
        return scores

    def factors(self, group: Group, weights: Tensor) -> Tensor:
        """What dropout multiplies these weights (n * H, S, S) by: 0, or what makes up for it; by seed and place."""
        bits = np.random.SFC64((self.seed, group[0].row, group[0].start))
        words = bits.random_raw(-(-weights.numel() // 4)).view(np.uint16)[: weights.numel()]
        kept = torch.from_numpy(words >= self.dropped).view(weights.shape)
        return kept.to(weights.dtype).mul_(LEVELS / (LEVELS - self.dropped))


def _gathered(group: Group, *rows: Tensor) -> Iterator[Tensor]:
    """The group's part (n * H, S, D) of each of `rows` (B, H, T, D)."""
    return (torch.cat([x[block.row, :, block.wide] for block in group]) for x in rows)


def _put(group: Group, part: Tensor, out: Tensor) -> None:
    """Write the group's part (n * H, S, D) to its tokens of `out` (B, T, H, D)."""
    for block, each in zip(group, part.split(out.shape[2]), strict=True):
        out[block.row, block.start : block.stop] = each[:, block.own].transpose(0, 1)


def _room(queries: Tensor, keep: bool) -> int:
    """How many attention weights are kept, at most."""
    B, H, T, _ = queries.shape
    return min(B * H * T * T, KEPT) if keep else 0


# One operation for torch.compile, which neither unrolls the blocks nor sees their sizes.
@torch.library.custom_op("mateconv::attend_pieces", mutates_args=())
def _attend(
    queries: Tensor, keys: Tensor, values: Tensor, segments: Tensor, seed: Tensor, dropout: float, keep: bool
) -> tuple[Tensor, Tensor]:
    """What queries gather from keys and values, (B, T, H, D), and attention weights for backward, flat."""
    B, H, T, D = queries.shape
    out, kept = queries.new_empty(B, T, H, D), queries.new_empty(_room(queries, keep))
    plan = Plan(queries, segments, seed, dropout)
    for group, place in plan.each(kept):
        query, key, value = _gathered(group, queries, keys, values)  # (n * H, S, D)
        weights = plan.weights(group, query.mul_(plan.scale), key, place)  # (n * H, S, S)
        if dropout:
            weights = weights * plan.factors(group, weights)
        _put(group, torch.bmm(weights, value), out)
    return out, kept


@_attend.register_fake
def _(
    queries: Tensor, keys: Tensor, values: Tensor, segments: Tensor, seed: Tensor, dropout: float, keep: bool
) -> tuple[Tensor, Tensor]:
    B, H, T, D = queries.shape
    return queries.new_empty(B, T, H, D), queries.new_empty(_room(queries, keep))


@torch.library.custom_op("mateconv::attend_pieces_backward", mutates_args=())
def _backward(
    upstream: Tensor,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    segments: Tensor,
    seed: Tensor,
    kept: Tensor,
    dropout: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of queries, keys and values, (B, T, H, D) each; `upstream` is (B, T, H, D)."""
    B, H, T, D = queries.shape
    gradients = [queries.new_empty(B, T, H, D) for _ in range(3)]
    plan = Plan(queries, segments, seed, dropout)
    for group, place in plan.each(kept):
        query, key, value, above = _gathered(group, queries, keys, values, upstream.transpose(1, 2))  # (n * H, S, D)
        query.mul_(plan.scale)
        weights = plan.weights(group, query, key, None) if place is None else place  # (n * H, S, S)
        of_weights, used = torch.bmm(above, value.transpose(1, 2)), weights
        if dropout:
            factors = plan.factors(group, weights)
            of_weights, used = of_weights.mul_(factors), weights * factors
        of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
        _put(group, torch.bmm(of_scores, key).mul_(plan.scale), gradients[0])
        _put(group, torch.bmm(of_scores.transpose(1, 2), query), gradients[1])
        _put(group, torch.bmm(used.transpose(1, 2), above), gradients[2])
    return gradients[0], gradients[1], gradients[2]


@_backward.register_fake
def _(
    upstream: Tensor,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    segments: Tensor,
    seed: Tensor,
    kept: Tensor,
    dropout: float,
) -> tuple[Tensor, Tensor, Tensor]:
    B, H, T, D = queries.shape
    return queries.new_empty(B, T, H, D), queries.new_empty(B, T, H, D), queries.new_empty(B, T, H, D)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:5], output[1])
    ctx.dropout = inputs[5]


def _differentiate(ctx: Any, upstream: Tensor, _: object) -> tuple[Tensor | None, ...]:
    gradients = _backward(upstream.contiguous(), *ctx.saved_tensors, ctx.dropout)
    return *(each.transpose(1, 2) for each in gradients), None, None, None, None


_attend.register_autograd(_differentiate, setup_context=_keep)
