"""Attention in both directions against the plain formula, piece by piece."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from model.encoder.attention import Layout, attend

ROWS = [[5, 1, 11], [17], [1, 1, 15]]  # lengths of the pieces of each row
LENGTH = 17
CPU = torch.device("cpu")


def borders(rows: Sequence[Sequence[int]], padding: int = 0) -> Tensor:
    """Cumulative borders of the pieces, with `padding` repeats of the end behind them."""
    ends = torch.tensor([0, *(length for row in rows for length in row)]).cumsum(0)
    return torch.cat([ends, ends[-1:].expand(padding)]).to(torch.int32)


def formula(queries: Tensor, keys: Tensor, values: Tensor, rows: Sequence[Sequence[int]], window: int | None) -> Tensor:
    """softmax(q k' / sqrt(D)) v of every piece by itself."""
    mixed = []
    for b, lengths in enumerate(rows):
        parts = zip(*(x[b].split(list(lengths), dim=1) for x in (queries, keys, values)), strict=True)  # (H, L, D)
        row = []
        for q, k, v in parts:
            scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
            if window is not None:
                i = torch.arange(q.shape[1])
                scores = scores.masked_fill((i[:, None] - i).abs() > window, -torch.inf)
            row.append(scores.softmax(-1) @ v)
        mixed.append(torch.cat(row, dim=1))
    return torch.stack(mixed)


def leaves(rows: int, length: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Queries, keys and values (rows, 3, length, 7)."""
    torch.manual_seed(0)
    return [torch.randn(rows, 3, length, 7, dtype=dtype, requires_grad=True) for _ in range(3)]


@pytest.mark.parametrize("window", [None, 0, 3, 40])
@pytest.mark.parametrize("packed", [False, True])
def test_every_piece_by_the_formula(packed: bool, window: int | None) -> None:
    queries, keys, values = own = leaves(3, LENGTH)
    segments = borders(ROWS, padding=4) if packed else None
    layout = Layout.of(segments, 3, LENGTH, CPU, torch.float64)
    mixed = attend(queries, keys, values, layout, window)
    expected = formula(queries, keys, values, ROWS if packed else [[LENGTH]] * 3, window)
    torch.testing.assert_close(mixed, expected, rtol=1e-12, atol=1e-12)
    upstream = torch.randn_like(mixed)
    found, wanted = (torch.autograd.grad(out, own, upstream) for out in (mixed, expected))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


def test_positions_count_from_each_piece() -> None:
    packed = Layout.of(borders(ROWS), 3, LENGTH, CPU, torch.float32)
    assert packed.positions.tolist() == [[i for n in row for i in range(n)] for row in ROWS]
    whole = Layout.of(None, 2, 5, CPU, torch.float32)
    assert whole.positions.tolist() == [[0, 1, 2, 3, 4]] * 2


def test_dropped_weights() -> None:
    queries, keys, values = (x.float() for x in leaves(3, LENGTH))
    layout = Layout.of(borders(ROWS), 3, LENGTH, CPU, torch.float32)
    mixed = attend(queries, keys, torch.ones_like(values), layout, None, 0.5)  # weights sum up to one where none drops
    assert 0.8 < mixed.mean().item() < 1.2
    assert mixed.std().item() > 0.1
