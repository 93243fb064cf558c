"""Attention in both directions against the plain formula, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from model.encoder import attention, pieces
from model.encoder.attention import Layout, attend
from model.encoder.pieces import attend_pieces

ROWS = [[5, 1, 11, 6, 20, 18], [61], [1, 1, 2, 30, 27]]  # lengths of the pieces of each row
LENGTH = 61
CPU = torch.device("cpu")
Way = Callable[[str], None]
Three = tuple[Tensor, Tensor, Tensor]


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


def leaves(rows: int = 3, length: int = LENGTH, dtype: torch.dtype = torch.float64) -> Three:
    """Queries, keys and values (rows, 3, length, 7)."""
    torch.manual_seed(0)
    queries, keys, values = (torch.randn(rows, 3, length, 7, dtype=dtype, requires_grad=True) for _ in range(3))
    return queries, keys, values


@pytest.fixture
def take(monkeypatch: pytest.MonkeyPatch) -> Way:
    """`take("pieces")`: attention goes that way, whatever would be fastest; blocks are small."""
    monkeypatch.setattr(pieces, "MULTIPLE", 4)
    monkeypatch.setattr(pieces, "SHORT", 9)

    def choose(way: str) -> None:
        monkeypatch.setattr(Layout, "way", lambda *_: way)

    return choose


@pytest.mark.parametrize(
    ("way", "window"),
    [("mask", None), ("mask", 0), ("mask", 3), ("mask", 60), ("pieces", None)]
    + [("chunks", window) for window in (0, 1, 3, 16, 59)],
)
@pytest.mark.parametrize("packed", [False, True])
def test_every_piece_by_the_formula(take: Way, packed: bool, way: str, window: int | None) -> None:
    take(way)
    queries, keys, values = own = leaves()
    segments = borders(ROWS, padding=4) if packed else None
    layout = Layout.of(segments, 3, LENGTH, CPU, torch.float64, 7)
    mixed = attend(queries, keys, values, layout, window)
    expected = formula(queries, keys, values, ROWS if packed else [[LENGTH]] * 3, window)
    torch.testing.assert_close(mixed, expected, rtol=1e-12, atol=1e-12)
    upstream = torch.randn_like(mixed)
    found, wanted = (torch.autograd.grad(out, own, upstream) for out in (mixed, expected))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kept", [0, 3 * 20 * 20, 2**20])
def test_weights_are_kept_or_computed_again(take: Way, monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    monkeypatch.setattr(pieces, "KEPT", kept)
    own, upstream = leaves(), torch.randn(3, 3, LENGTH, 7, dtype=torch.float64)
    found = torch.autograd.grad(attend_pieces(*own, borders(ROWS)), own, upstream)
    wanted = torch.autograd.grad(formula(*own, ROWS, None), own, upstream)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


def test_pieces_leave_what_they_read_as_it_is() -> None:
    """A single row and head is contiguous as it stands: nothing may be scaled in place."""
    queries, keys, values = (torch.randn(1, 1, 64, 8) for _ in range(3))
    before = queries.clone(), keys.clone(), values.clone()
    attend_pieces(queries, keys, values, torch.tensor([0, 64], dtype=torch.int32))
    assert all(torch.equal(a, b) for a, b in zip((queries, keys, values), before, strict=True))


def test_bfloat16_is_as_close_as_the_fused_kernel() -> None:
    exact = leaves(dtype=torch.float32)
    half = [tensor.detach().bfloat16().requires_grad_() for tensor in exact]
    upstream = torch.randn(3, 3, LENGTH, 7)
    layout = Layout.of(borders(ROWS), 3, LENGTH, CPU, torch.bfloat16, 7)
    near = Layout.of(borders(ROWS), 3, LENGTH, CPU, torch.bfloat16, 7)
    assert layout.way(None, 0.0) == "pieces" and layout.way(7, 0.0) == "chunks"

    def errors(window: int | None, fused: bool) -> list[float]:
        q, k, v = exact
        reference = formula(q, k, v, ROWS, window)
        wanted = [reference, *torch.autograd.grad(reference, exact, upstream)]
        q, k, v = half
        own = scaled_dot_product_attention(q, k, v, near.visible(window)) if fused else attend(q, k, v, layout, window)
        found = [own, *torch.autograd.grad(own, half, upstream.bfloat16())]
        return [float((a.float() - b).detach().abs().mean()) for a, b in zip(found, wanted, strict=True)]

    for window in (None, 7):
        own, theirs = errors(window, False), errors(window, True)
        assert all(a < 2 * b + 1e-6 for a, b in zip(own, theirs, strict=True)), (own, theirs)


def test_as_an_operation_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Schema, gradients and shapes without data are what torch.compile relies on."""
    monkeypatch.setattr(pieces, "MULTIPLE", 4)
    qkv = torch.randn(2, 17, 3, 3, 5, requires_grad=True)
    queries, keys, values = (x.detach().requires_grad_() for x in qkv.permute(2, 0, 3, 1, 4))
    segments = borders([[5, 1, 11], [17]], padding=2)
    seed = torch.tensor([4])
    torch.library.opcheck(pieces._attend, (queries, keys, values, segments, seed, 0.25, True))


def test_positions_count_from_each_piece() -> None:
    packed = Layout.of(borders(ROWS), 3, LENGTH, CPU, torch.float32, 7)
    assert packed.positions.tolist() == [[i for n in row for i in range(n)] for row in ROWS]
    whole = Layout.of(None, 2, 5, CPU, torch.float32, 7)
    assert whole.positions.tolist() == [[0, 1, 2, 3, 4]] * 2


@pytest.mark.parametrize(("way", "window"), [("mask", None), ("pieces", None), ("chunks", 60)])
def test_dropped_weights(take: Way, way: str, window: int | None) -> None:
    """Queries of zero spread their attention evenly, and values of the identity show the weights as they are used."""
    take(way)
    length, share = 64, 0.3
    layout = Layout.of(borders([[40, 24]]), 1, length, CPU, torch.float64, length)
    keys, values = torch.randn(1, 3, length, length).double(), torch.eye(length).double().expand(1, 3, -1, -1)
    torch.manual_seed(3)
    used = [attend(torch.zeros_like(keys), keys, values, layout, window, share) for _ in range(2)]
    assert not torch.equal(*used), "each pass drops others"
    torch.manual_seed(3)
    assert torch.equal(used[0], attend(torch.zeros_like(keys), keys, values, layout, window, share))
    assert not used[0][0, :, :40, 40:].any() and not used[0][0, :, 40:, :40].any()
    for start, stop in ((0, 40), (40, 64)):
        seen = used[0][0, :, start:stop, start:stop] * (stop - start) * (1 - share)  # 0 or 1
        torch.testing.assert_close(seen, (seen > 0.5).double(), rtol=1e-4, atol=1e-4)
        assert seen.mean().item() == pytest.approx(1 - share, abs=4 * (0.21 / seen.numel()) ** 0.5)


@pytest.mark.parametrize("kept", [0, 2**20])
def test_gradients_are_of_the_weights_that_were_not_dropped(
    take: Way, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    take("pieces")
    monkeypatch.setattr(pieces, "KEPT", kept)

    def run(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        torch.manual_seed(5)
        return attend_pieces(queries, keys, values, borders([[5, 2], [7]]), 0.4)

    assert torch.autograd.gradcheck(run, [torch.randn(2, 2, 7, 3).double().requires_grad_() for _ in range(3)])


def test_masks_are_made_before_the_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers that are computed again under torch.compile must not make them."""
    for windows, dropout in (((None, 7), 0.0), ((None, 7), 0.1)):
        monkeypatch.setattr(attention, "pieces_pay", lambda *_: False)
        layout = Layout.of(borders(ROWS), 3, LENGTH, CPU, torch.float32, 7, windows, dropout)
        with monkeypatch.context() as patch:
            patch.setattr(attention, "chunk_mask", None)
            patch.setattr(Layout, "borders", None)
            for window in windows:
                attend(*leaves(dtype=torch.float32), layout, window, dropout)
            assert list(layout._chunks) == [7] and list(layout._visible) == [None]


@pytest.mark.gpu
@pytest.mark.parametrize("width", [16, 10])
@pytest.mark.parametrize("window", [None, 7])
def test_attention_on_a_gpu_by_the_formula(window: int | None, width: int) -> None:
    queries, keys, values = own = [
        torch.randn(3, 2, LENGTH, width, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in range(3)
    ]
    layout = Layout.of(borders(ROWS, padding=3).cuda(), 3, LENGTH, queries.device, torch.bfloat16, width)
    assert layout.way(window, 0.0) == ("varlen" if width == 16 else "mask")
    mixed = attend(queries, keys, values, layout, window)
    exact = [x.detach().double().cpu().requires_grad_() for x in own]
    expected = formula(exact[0], exact[1], exact[2], ROWS, window)
    torch.testing.assert_close(mixed.cpu().double(), expected, atol=2e-2, rtol=2e-2)
    upstream = torch.randn_like(expected)
    found = torch.autograd.grad(mixed, own, upstream.to("cuda", torch.bfloat16))
    for one, other in zip(found, torch.autograd.grad(expected, exact, upstream), strict=True):
        torch.testing.assert_close(one.cpu().double(), other, atol=5e-2, rtol=5e-2)


@pytest.mark.slow
def test_compiled_layers_drop_too() -> None:
    """As eager ones do: each pass others, forward and backward the same ones."""
    layout = Layout.of(borders([[40, 24]]), 1, 64, CPU, torch.bfloat16, 64)

    def run(x: Tensor) -> Tensor:
        return attend(torch.zeros_like(x), torch.zeros_like(x), x, layout, None, 0.5)

    compiled = torch.compile(run, dynamic=False)
    x = torch.eye(64).bfloat16().expand(1, 2, -1, -1).contiguous().requires_grad_()
    first, second = compiled(x), compiled(x)
    assert not torch.equal(first, second)
    (gradient,) = torch.autograd.grad(first, x, torch.eye(64).bfloat16().expand(1, 2, -1, -1))
    torch.testing.assert_close(gradient, first.transpose(2, 3))


@pytest.mark.slow
@pytest.mark.parametrize("window", [None, 7])
def test_compiled_is_eager(monkeypatch: pytest.MonkeyPatch, window: int | None) -> None:
    monkeypatch.setattr(attention, "pieces_pay", lambda *_: True)

    def run(qkv: Tensor, segments: Tensor) -> Tensor:
        layout = Layout.of(segments, 3, LENGTH, CPU, torch.float32, 8)
        queries, keys, values = qkv.permute(2, 0, 3, 1, 4)
        return attend(queries, keys, values, layout, window)

    compiled = torch.compile(run, dynamic=False)
    for _ in range(2):
        qkv = torch.randn(3, LENGTH, 3, 3, 8, requires_grad=True)
        outs = [each(qkv, borders(ROWS, 3)) for each in (run, compiled)]
        torch.testing.assert_close(*outs, rtol=1e-5, atol=1e-5)
        upstream = torch.randn_like(outs[0])
        one, other = (torch.autograd.grad(out, qkv, upstream)[0] for out in outs)
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
