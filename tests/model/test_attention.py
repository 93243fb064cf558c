"""Grouped heads: told to the kernel, or a key head repeated for each query head that reads it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from model import attention
from model.attention import kernel_groups
from model.decoder import Decoder
from model.documents import positions_within, visible_within

Make = Callable[..., Decoder]
LENGTH = 23
SEGMENTS = torch.tensor([0, 7, 23, 36, 46], dtype=torch.int32)


@pytest.mark.parametrize("masked", [False, True])
def test_repeated_heads_are_grouped_heads(make_decoder: Make, monkeypatch: pytest.MonkeyPatch, masked: bool) -> None:
    model = make_decoder(num_attention_heads=6, num_key_value_heads=2, hidden_size=60)
    tokens = torch.randint(0, 101, (2, LENGTH))
    told: list[tuple[int, bool, bool]] = []

    def watched(queries: torch.Tensor, keys: torch.Tensor, *others: Any, **options: Any) -> torch.Tensor:
        told.append((keys.shape[1], options["enable_gqa"], options["attn_mask"] is not None))
        return scaled_dot_product_attention(queries, keys, *others, **options)

    def run() -> list[torch.Tensor]:
        loss, _ = model.loss(tokens, tokens, SEGMENTS if masked else None)
        return [loss, *torch.autograd.grad(loss, list(model.parameters()))]

    monkeypatch.setattr(attention, "scaled_dot_product_attention", watched)
    monkeypatch.setattr("model.decoder.attends_by_segments", lambda *_: False)
    grouped = run()
    monkeypatch.setattr(attention, "kernel_groups", lambda *_: False)
    for one, other in zip(grouped, run(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert told == [(2, True, masked)] * 3 + [(6, False, masked)] * 3


def test_which_kernels_know_groups() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert kernel_groups(cpu, torch.float32, 64, True)
    assert kernel_groups(cuda, torch.bfloat16, 64, False) and not kernel_groups(cuda, torch.bfloat16, 64, True)
    assert not kernel_groups(cuda, torch.float32, 64, False) and not kernel_groups(cuda, torch.bfloat16, 264, False)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("masked", [False, True])
def test_a_fused_kernel_serves_on_a_gpu(make_decoder: Make, dtype: torch.dtype, masked: bool) -> None:
    """The plain formula is forbidden: where no other kernel served, torch would say so."""
    model = make_decoder(num_attention_heads=6, num_key_value_heads=2, hidden_size=96)
    layer = attention.Attention(model.config, 0).to("cuda", dtype)
    x = torch.randn(2, LENGTH, 96, device="cuda", dtype=dtype, requires_grad=True)
    rotation = (torch.ones(LENGTH, 8, device="cuda", dtype=dtype), torch.zeros(LENGTH, 8, device="cuda", dtype=dtype))
    visible = visible_within(positions_within(SEGMENTS.cuda(), 2, LENGTH)) if masked else None
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]):
        layer(x, rotation, visible, None).sum().backward()
    assert x.grad is not None and torch.isfinite(x.grad).all()
