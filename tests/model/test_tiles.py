from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from model import tiles
from model.documents import positions_within, visible_within


def _case(heads: int, groups: int, length: int, dtype: torch.dtype) -> list[torch.Tensor]:
    torch.manual_seed(0)
    shapes = [(3, heads, length, 6), (3, groups, length, 6), (3, groups, length, 6)]
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


def _borders(length: int) -> torch.Tensor:
    segments = torch.tensor([0, 7, length, length + 1, 2 * length, 3 * length - 1, 3 * length, 3 * length])
    return visible_within(positions_within(segments.int(), 3, length))


@pytest.mark.parametrize("length", [1, 5, 37, 64])
@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (4, 2), (5, 1)])
@pytest.mark.parametrize("borders", [False, True])
def test_tiles_agree_with_the_fused_kernel(
    heads: int, groups: int, length: int, borders: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "ROWS", 22)  # several tiles, the last one smaller
    queries, keys, values = own = _case(heads, groups, length, torch.float64)
    visible = _borders(length) if borders and length > 8 else None
    mixed = tiles.attend_tiles(queries, keys, values, visible)
    expected = scaled_dot_product_attention(
        queries, keys, values, attn_mask=visible, is_causal=visible is None, enable_gqa=heads != groups
    )
    torch.testing.assert_close(mixed, expected, rtol=1e-12, atol=1e-12)
    upstream = torch.randn_like(expected)
    gradients = torch.autograd.grad(mixed, own, upstream)
    for gradient, wanted in zip(gradients, torch.autograd.grad(expected, own, upstream), strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-11, atol=1e-11)


def test_bfloat16_is_as_close_as_the_fused_kernel() -> None:
    queries, keys, values = exact = _case(4, 2, 97, torch.float32)
    half = [tensor.detach().bfloat16().requires_grad_() for tensor in exact]
    upstream = torch.randn(3, 4, 97, 6)

    def fused(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

    def errors(attend: Callable[..., torch.Tensor]) -> list[float]:
        mixed = attend(*half)
        found = [mixed, *torch.autograd.grad(mixed, half, upstream.bfloat16())]
        return [float((a.float() - b).detach().abs().mean()) for a, b in zip(found, wanted, strict=True)]

    reference = fused(queries, keys, values)
    wanted = [reference, *torch.autograd.grad(reference, exact, upstream)]
    own = errors(lambda q, k, v: tiles.attend_tiles(q, k, v, None))
    theirs = errors(fused)
    assert all(a < 2 * b + 1e-6 for a, b in zip(own, theirs, strict=True)), (own, theirs)


def test_as_an_operation_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Schema, gradients and shapes without data are what torch.compile relies on."""
    monkeypatch.setattr(tiles, "ROWS", 22)
    shapes = [(6, 37 * 2, 5), (6, 37, 5), (6, 37, 5)]
    leaves = [torch.randn(shape, requires_grad=True) for shape in shapes]
    for hidden in (None, ~_borders(37)):
        torch.library.opcheck(tiles._attend, (*leaves, hidden))


def test_who_gets_tiles() -> None:
    queries, keys = torch.empty(2, 4, 64, 6).bfloat16(), torch.empty(2, 2, 64, 6).bfloat16()
    assert tiles.pays(queries, keys)
    assert not tiles.pays(queries[:, :, -1:], keys)  # over a cache
    assert not tiles.pays(queries[:, :, :8], keys[:, :, :8])
    assert not tiles.pays(queries.float(), keys.float())
    long = torch.empty(1, 1, 20_000, 1).bfloat16()
    assert not tiles.pays(long, long)  # would keep 200 million weights
    assert not tiles.pays(queries.to("meta"), keys)
