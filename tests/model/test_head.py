from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy, linear

from model import head, head_on_cpu


def _case(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    hidden = torch.randn(3, 7, 5, dtype=dtype, requires_grad=True)
    weight = torch.randn(64, 5, dtype=dtype, requires_grad=True)
    targets = torch.randint(0, 53, (3, 7))
    targets[0, 2] = targets[2, 6] = head_on_cpu.IGNORED
    return hidden, weight, targets


@pytest.mark.parametrize("piece", [1, 4, 21, 1000])
@pytest.mark.parametrize("recompute", [False, True, None])
def test_pieces_and_recomputation_change_nothing(
    piece: int, recompute: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`recompute` None: the gradients are made with the loss, as a CPU does it."""
    hidden, weight, targets = _case()
    logits = linear(hidden, weight)[..., :53].flatten(0, 1)
    expected = cross_entropy(logits, targets.flatten(), ignore_index=-100, reduction="sum")
    gradients = torch.autograd.grad(expected, (hidden, weight))
    monkeypatch.setattr(head, "CPU_PIECE", piece * 64)
    monkeypatch.setattr(head_on_cpu, "PIECE", piece * 53)
    monkeypatch.setattr(head_on_cpu, "FEWEST_ROWS", 1)
    monkeypatch.setattr(head_on_cpu, "MULTIPLE", 1)
    monkeypatch.setattr(head_on_cpu, "DTYPES", (torch.float32,) if recompute is None else ())
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


def test_float64_stays_exact() -> None:
    hidden, weight, targets = _case(torch.float64)
    expected = cross_entropy(linear(hidden, weight)[..., :53].flatten(0, 1), targets.flatten(), reduction="sum")
    loss, _ = head.summed_cross_entropy(hidden, weight, targets, 53)
    assert loss.dtype == torch.float64
    torch.testing.assert_close(loss, expected, rtol=1e-14, atol=0)
    for own, reference in zip(
        torch.autograd.grad(loss * 3, (hidden, weight)),
        torch.autograd.grad(expected * 3, (hidden, weight)),
        strict=True,
    ):
        torch.testing.assert_close(own, reference, rtol=1e-12, atol=1e-14)


def test_half_precision_is_as_close_as_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(3, 67, 32, requires_grad=True)
    weight = torch.randn(320, 32, requires_grad=True)
    targets = torch.randint(0, 311, (3, 67))
    exact = cross_entropy(linear(hidden, weight)[..., :311].flatten(0, 1), targets.flatten(), reduction="sum")
    wanted = torch.autograd.grad(exact, (hidden, weight))

    def errors() -> list[float]:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss, _ = head.summed_cross_entropy(hidden, weight, targets, 311)
        found = torch.autograd.grad(loss, (hidden, weight))
        assert loss.dtype == torch.float32 and all(own.dtype == torch.float32 for own in found)
        return [
            abs(loss.item() / exact.item() - 1),
            *(float((a - b).abs().mean()) for a, b in zip(found, wanted, strict=True)),
        ]

    monkeypatch.setattr(head_on_cpu, "PIECE", 50 * 311)
    monkeypatch.setattr(head_on_cpu, "FEWEST_ROWS", 1)
    monkeypatch.setattr(head_on_cpu, "MULTIPLE", 1)
    own = errors()
    monkeypatch.setattr(head_on_cpu, "DTYPES", ())
    assert all(a < 1.5 * b + 1e-4 for a, b in zip(own, errors(), strict=True))


@pytest.mark.parametrize("shape", [(4096, 32000), (1, 32000), (0, 100), (517, 300_000), (10, 101)])
def test_pieces_are_even_and_bounded(shape: tuple[int, int]) -> None:
    rows = head_on_cpu.rows_of_a_piece(*shape)
    count = -(-shape[0] // rows)
    most = max(head_on_cpu.PIECE, head_on_cpu.FEWEST_ROWS * shape[1])
    assert rows * shape[1] < most + head_on_cpu.MULTIPLE * shape[1]
    assert shape[0] <= count * rows < shape[0] + max(1, count * head_on_cpu.MULTIPLE)
    assert count < 2 or rows % head_on_cpu.MULTIPLE == 0


def test_the_shortcut_as_an_operation_of_torch() -> None:
    hidden, weight, targets = _case()
    flat = hidden.flatten(0, 1).detach().requires_grad_()
    for bias in (None, torch.randn(weight.shape[0], requires_grad=True)):
        inputs = (flat, weight, bias, targets.flatten(), 53, torch.float32, False)
        torch.library.opcheck(head_on_cpu._loss_and_gradients, inputs)


@pytest.mark.parametrize("compiled", ["_turn", "_turn_in_one"])
def test_both_forms_of_a_piece_agree_with_autograd(compiled: str) -> None:
    logits = torch.randn(5, 11, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([3, -100, 0, 10, 3])
    expected = cross_entropy(logits, targets, reduction="sum")
    nats, gradient = getattr(head_on_cpu, compiled)(logits.detach(), targets)
    torch.testing.assert_close(nats, expected)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, logits)[0])


@pytest.mark.parametrize("form", ["_turn", "_turn_in_one"])
def test_a_target_of_next_to_no_probability_costs_what_it_costs(form: str) -> None:
    """Its probability is below float32's smallest number; the loss is not infinite, and as exact as any."""
    logits = torch.tensor([[0.0, 200.0, 3.0], [0.0, 75.0, 1.0], [-80.0, 0.0, 1.0]])
    targets = torch.tensor([0, 0, 0])
    expected = cross_entropy(logits.double(), targets, reduction="sum")
    nats, gradient = getattr(head_on_cpu, form)(logits, targets)
    torch.testing.assert_close(nats.double(), expected, rtol=1e-6, atol=0)
    assert gradient.isfinite().all()
