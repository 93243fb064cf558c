"""Documents that share a row, against each document run alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from model import documents, presets
from model.config import ModelConfig
from model.decoder import Decoder

Make = Callable[..., Decoder]
ROWS = [[5, 1, 11], [17], [1, 1, 15]]  # lengths of the pieces of each row
LENGTH = 17


def borders(rows: Sequence[Sequence[int]], padding: int = 0) -> Tensor:
    """Cumulative borders of the pieces, with `padding` repeats of the end behind them."""
    ends = torch.tensor([0, *(length for row in rows for length in row)]).cumsum(0)
    return torch.cat([ends, ends[-1:].expand(padding)]).to(torch.int32)


def alone(model: Decoder, tokens: Tensor) -> Tensor:
    """Logits of every piece read by itself, put together again as (B, T, V)."""
    rows = [torch.cat([model(piece[None])[0] for piece in row.split(lengths)])
            for row, lengths in zip(tokens, ROWS, strict=True)]  # fmt: skip
    return torch.stack(rows)


@pytest.mark.parametrize("by_pieces", [False, True])
@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("qk_norm", [False, True])
@pytest.mark.parametrize("heads", [(3, 3), (3, 1), (6, 2)])
def test_each_document_is_read_as_if_it_stood_alone(
    monkeypatch: pytest.MonkeyPatch,
    make_decoder: Make,
    heads: tuple[int, int],
    qk_norm: bool,
    padding: int,
    by_pieces: bool,
) -> None:
    monkeypatch.setattr(documents, "LONG_PRECISE_ROW", LENGTH if by_pieces else LENGTH + 1)
    model = make_decoder(qk_norm=qk_norm, num_attention_heads=heads[0], num_key_value_heads=heads[1], head_dim=10)
    tokens = torch.randint(0, 101, (3, LENGTH))
    with torch.no_grad():
        packed = model(tokens, segments=borders(ROWS, padding))
        together = model(tokens)
        torch.testing.assert_close(packed, alone(model, tokens), atol=1e-4, rtol=1e-4)
    assert (packed - together)[0, 5:].abs().max() > 1e-2, "without segments documents see each other"


def test_half_precision_too(make_decoder: Make) -> None:
    model = make_decoder(initializer_range=0.1).to(torch.bfloat16)
    tokens = torch.randint(0, 101, (3, LENGTH))
    with torch.no_grad():
        torch.testing.assert_close(model(tokens, segments=borders(ROWS)), alone(model, tokens), atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("long_row", [LENGTH, LENGTH + 1])
def test_gradients_are_those_of_the_documents_alone(
    monkeypatch: pytest.MonkeyPatch, make_decoder: Make, long_row: int
) -> None:
    monkeypatch.setattr(documents, "LONG_PRECISE_ROW", long_row)
    model = make_decoder().double()
    tokens, targets = torch.randint(0, 101, (2, 3, LENGTH))
    loss, count = model.loss(tokens, targets, borders(ROWS, padding=3))
    loss.backward()
    together = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad()
    pieces = [pair for row, lengths in zip(zip(tokens, targets, strict=True), ROWS, strict=True)
              for pair in zip(row[0].split(lengths), row[1].split(lengths), strict=True)]  # fmt: skip
    for inputs, wanted in pieces:
        model.loss(inputs[None], wanted[None])[0].backward()
    assert count.item() == 3 * LENGTH
    apart = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    for one, other in zip(together, apart, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("knows_groups", [True, False])
@pytest.mark.parametrize("argument", ["window_size", "is_causal"])
def test_varlen_attention_gets_what_each_torch_wants(
    monkeypatch: pytest.MonkeyPatch, argument: str, knows_groups: bool
) -> None:
    """An imitation that runs each piece by itself; the signature is that of one torch or another."""
    causal = {"window_size": (-1, 0)} if argument == "window_size" else {"is_causal": True}

    def attend(lengths: list[int], *heads_first: Tensor) -> Tensor:
        parts = zip(*(x.transpose(0, 1).split(lengths, dim=1) for x in heads_first), strict=True)  # (H, length, D)
        mixed = [scaled_dot_product_attention(q, k, v, is_causal=True) for q, k, v in parts]
        return torch.cat(mixed, dim=1).transpose(0, 1)

    def imitation(q: Tensor, k: Tensor, v: Tensor, *borders_and_lengths: Any, **named: Any) -> Tensor:
        cu_q, cu_k, top_q, top_k = borders_and_lengths
        grouped = named.pop("enable_gqa", False)
        assert named == causal and q.dim() == 3 and cu_q.dtype == torch.int32 and cu_k is cu_q
        assert grouped == (knows_groups and k.shape[1] != q.shape[1])
        assert (cu_q.diff() <= top_q).all() and top_k == top_q
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
        return attend(cu_q.diff().tolist(), q, k, v)

    known = SimpleNamespace(parameters={argument, *(["enable_gqa"] if knows_groups else [])})
    monkeypatch.setattr(documents, "signature", lambda function: known)
    monkeypatch.setattr(documents, "varlen_attn", imitation)
    arguments, groups = documents._varlen_arguments()
    monkeypatch.setattr(documents, "VARLEN_CAUSAL", arguments)
    monkeypatch.setattr(documents, "VARLEN_GROUPS", groups)
    segments = borders(ROWS, padding=2)
    queries, keys, values = torch.randn(3, 6, LENGTH, 8), torch.randn(3, 2, LENGTH, 8), torch.randn(3, 2, LENGTH, 8)
    mask = documents.visible_within(documents.positions_within(segments, 3, LENGTH))
    expected = scaled_dot_product_attention(queries, keys, values, attn_mask=mask, enable_gqa=True)
    torch.testing.assert_close(documents.attend_varlen(queries, keys, values, segments), expected)


@pytest.mark.parametrize("name", sorted(presets.PRESETS))
def test_flash_attention_for_heads_that_its_kernels_know(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(documents, "varlen_attn", documents.attend_varlen)  # builds for CPUs have none
    config = ModelConfig(**presets.merged(name, {}, ()))
    kind = (torch.device("cuda"), torch.bfloat16, 512, config.head_size)
    assert documents.attends_by_segments(*kind) == (name not in ("micro-v1", "micro-v2", "micro-v3"))


@pytest.mark.parametrize("width", [1, 4, 7, 10, 12, 68, 200, 208, 224, 250, 264])
def test_other_heads_take_the_mask(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(documents, "varlen_attn", documents.attend_varlen)
    cuda = torch.device("cuda")
    assert not documents.varlen_serves(cuda, torch.bfloat16, width)
    assert documents.varlen_serves(cuda, torch.float16, 256) and not documents.varlen_serves(cuda, torch.float32, 64)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    assert not documents.varlen_serves(cuda, torch.float16, 64)


def test_the_decoder_says_how_wide_its_heads_are(monkeypatch: pytest.MonkeyPatch, make_decoder: Make) -> None:
    told: list[tuple[Any, ...]] = []
    monkeypatch.setattr("model.decoder.attends_by_segments", lambda *kind: told.append(kind))
    make_decoder(head_dim=14)(torch.zeros(3, LENGTH, dtype=torch.int64), segments=borders(ROWS))
    assert told == [(torch.device("cpu"), torch.float32, LENGTH, 14)]


@pytest.mark.gpu
@pytest.mark.parametrize("width", [16, 10, 2])
def test_documents_on_a_gpu_equal_each_document_alone(make_decoder: Make, width: int) -> None:
    model = make_decoder(initializer_range=0.1, head_dim=width, hidden_size=32).to("cuda", torch.bfloat16)
    tokens = torch.randint(0, 101, (3, LENGTH), device="cuda")
    assert documents.attends_by_segments(tokens.device, torch.bfloat16, LENGTH, width) == (width == 16)
    with torch.no_grad():
        packed = model(tokens, segments=borders(ROWS, padding=3).cuda())
        torch.testing.assert_close(packed, alone(model, tokens), atol=2e-2, rtol=2e-2)


@pytest.mark.slow
def test_compiled_with_documents_equals_eager(make_decoder: Make) -> None:
    model = make_decoder()
    tokens = torch.randint(0, 101, (3, LENGTH + 1))
    arguments = tokens[:, :-1], tokens[:, 1:]
    compiled = torch.compile(model, dynamic=False)
    for padding in (0, 5):
        segments = borders(ROWS, padding)
        eager, _ = model.loss(*arguments, segments)
        loss, count = compiled(arguments[0], targets=arguments[1], segments=segments)
        assert loss.item() == pytest.approx(eager.item(), rel=1e-5) and count.item() == 3 * LENGTH
    loss.backward()
