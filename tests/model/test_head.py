from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy, linear

from model import head


def _case(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    hidden = torch.randn(3, 7, 5, dtype=dtype, requires_grad=True)
    weight = torch.randn(64, 5, dtype=dtype, requires_grad=True)
    targets = torch.randint(0, 53, (3, 7))
    targets[0, 2] = targets[2, 6] = head.IGNORED
    return hidden, weight, targets


@pytest.mark.parametrize("piece", [1, 4, 21, 1000])
@pytest.mark.parametrize("recompute", [False, True])
def test_pieces_and_recomputation_change_nothing(piece: int, recompute: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, targets = _case()
    logits = linear(hidden, weight)[..., :53].flatten(0, 1)
    expected = cross_entropy(logits, targets.flatten(), ignore_index=-100, reduction="sum")
    gradients = torch.autograd.grad(expected, (hidden, weight))
    monkeypatch.setattr(head, "CPU_PIECE", piece * 64)
    monkeypatch.setattr(head, "KEPT_LOGITS", 0 if recompute else 2**40)
    loss, count = head.summed_cross_entropy(hidden, weight, targets, 53)
    assert count.item() == 19
    torch.testing.assert_close(loss, expected)
    for own, reference in zip(torch.autograd.grad(loss, (hidden, weight)), gradients, strict=True):
        torch.testing.assert_close(own, reference)
    assert torch.all(gradients[1][53:] == 0)


def test_nothing_to_predict_gives_zero_and_no_nan() -> None:
    hidden, weight, targets = _case()
    loss, count = head.summed_cross_entropy(hidden, weight, torch.full_like(targets, -100), 53)
    assert loss.item() == 0 and count.item() == 0
    loss.backward()
    assert hidden.grad is not None and torch.all(hidden.grad == 0)


@pytest.mark.parametrize("shape", [(5,), (1, 5), (3, 5), (2, 2, 5), (7, 5)])
def test_blocks_give_the_plain_product(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    weight, hidden = torch.randn(64, 5), torch.randn(shape)
    expected = linear(hidden, weight)[..., :53]
    monkeypatch.setattr(head, "LARGE_MATRIX", 1)
    torch.testing.assert_close(head.logits_of(hidden, weight, 53), expected)
