from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy, linear

from model import head, head_gradients

FORMS = ["_turn", "_turn_on_gpu", "_turn_in_one"]


def _case(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    hidden = torch.randn(3, 7, 5, dtype=dtype, requires_grad=True)
    weight = torch.randn(64, 5, dtype=dtype, requires_grad=True)
    targets = torch.randint(0, 53, (3, 7))
    targets[0, 2] = targets[2, 6] = head_gradients.IGNORED
    return hidden, weight, targets


@pytest.mark.parametrize("piece", [1, 4, 21, 1000])
@pytest.mark.parametrize("way", ["kept", "recomputed", "cpu", "gpu"])
def test_pieces_and_recomputation_change_nothing(piece: int, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`cpu` and `gpu`: the gradients are made with the loss, as such a device does it."""
    hidden, weight, targets = _case()
    logits = linear(hidden, weight)[..., :53].flatten(0, 1)
    expected = cross_entropy(logits, targets.flatten(), ignore_index=-100, reduction="sum")
    gradients = torch.autograd.grad(expected, (hidden, weight))
    monkeypatch.setattr(head, "CPU_PIECE", piece * 64)
    monkeypatch.setattr(head_gradients, "PIECE", piece * 53)
    monkeypatch.setattr(head_gradients, "GPU_PIECE", piece * 64)
    monkeypatch.setattr(head_gradients, "FEWEST_ROWS", 1)
    monkeypatch.setattr(head_gradients, "MULTIPLE", 1)
    monkeypatch.setattr(head_gradients, "DTYPES", (torch.float32,) if way in ("cpu", "gpu") else ())
    monkeypatch.setattr(head_gradients, "_on_cpu", lambda _: way == "cpu")
    monkeypatch.setattr(head, "KEPT_LOGITS", 0 if way == "recomputed" else 2**40)
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


@pytest.mark.parametrize("on_cpu", [True, False])
def test_half_precision_is_as_close_as_the_plain_way(monkeypatch: pytest.MonkeyPatch, on_cpu: bool) -> None:
    monkeypatch.setattr(head_gradients, "_on_cpu", lambda _: on_cpu)
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

    monkeypatch.setattr(head_gradients, "PIECE", 50 * 311)
    monkeypatch.setattr(head_gradients, "GPU_PIECE", 50 * 320)
    monkeypatch.setattr(head_gradients, "FEWEST_ROWS", 1)
    monkeypatch.setattr(head_gradients, "MULTIPLE", 1)
    own = errors()
    monkeypatch.setattr(head_gradients, "DTYPES", ())
    assert all(a < 1.5 * b + 1e-4 for a, b in zip(own, errors(), strict=True))


@pytest.mark.parametrize("shape", [(4096, 32000), (1, 32000), (0, 100), (517, 300_000), (10, 101)])
def test_pieces_are_even_and_bounded(shape: tuple[int, int]) -> None:
    rows = head_gradients.rows_of_a_piece(*shape, head_gradients.PIECE)
    count = -(-shape[0] // rows)
    most = max(head_gradients.PIECE, head_gradients.FEWEST_ROWS * shape[1])
    assert rows * shape[1] < most + head_gradients.MULTIPLE * shape[1]
    assert shape[0] <= count * rows < shape[0] + max(1, count * head_gradients.MULTIPLE)
    assert count < 2 or rows % head_gradients.MULTIPLE == 0


def test_the_shortcut_as_an_operation_of_torch() -> None:
    hidden, weight, targets = _case()
    flat = hidden.flatten(0, 1).detach().requires_grad_()
    for bias in (None, torch.randn(weight.shape[0], requires_grad=True)):
        inputs = (flat, weight, bias, targets.flatten(), 53, torch.float32, False)
        torch.library.opcheck(head_gradients._loss_and_gradients, inputs)


@pytest.mark.parametrize("compiled", FORMS)
def test_all_forms_of_a_piece_agree_with_autograd(compiled: str) -> None:
    logits = torch.randn(5, 11, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([3, -100, 0, 10, 3])
    expected = cross_entropy(logits, targets, reduction="sum")
    nats, gradient = getattr(head_gradients, compiled)(logits.detach(), targets)
    torch.testing.assert_close(nats, expected)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, logits)[0])


@pytest.mark.parametrize("form", FORMS)
def test_a_target_of_next_to_no_probability_costs_what_it_costs(form: str) -> None:
    """Its probability is below float32's smallest number; the loss is not infinite, and as exact as any."""
    logits = torch.tensor([[0.0, 200.0, 3.0], [0.0, 75.0, 1.0], [-80.0, 0.0, 1.0]])
    targets = torch.tensor([0, 0, 0])
    expected = cross_entropy(logits.double(), targets, reduction="sum")
    nats, gradient = getattr(head_gradients, form)(logits, targets)
    torch.testing.assert_close(nats.double(), expected, rtol=1e-6, atol=0)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gpu_is_asked_for_no_value(monkeypatch: pytest.MonkeyPatch, biased: bool, dtype: torch.dtype) -> None:
    """Tensors without data have none to give, and mix with those of no other device."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    monkeypatch.setattr(head_gradients, "GPU_PIECE", 64 * 64)
    hidden, weight, bias = (torch.empty(shape, device="meta") for shape in ((200, 5), (64, 5), (64,)))
    targets = torch.empty(200, dtype=torch.int64, device="meta")
    given = (hidden, weight, bias if biased else None, targets, 53, dtype, False)
    found = head_gradients._loss_and_gradients._init_fn(*given)
    assert [(each.device.type, each.dtype) for each in found] == [("meta", torch.float32)] * 4
    assert [tuple(each.shape) for each in found] == [(), (200, 5), (64, 5), (64 if biased else 0,)]
    for form in FORMS[1:]:
        nats, gradient = getattr(head_gradients, form)(torch.empty(200, 64, device="meta", dtype=dtype), targets)
        assert nats.dtype == torch.float32 and gradient.dtype == dtype and gradient.shape == (200, 64)


@pytest.mark.parametrize(
    ("device", "dtype", "wanted"),
    [
        ("cuda", torch.bfloat16, True),
        ("cuda", torch.float32, True),
        ("cuda", torch.float16, False),
        ("mps", torch.bfloat16, False),
        ("cpu", torch.bfloat16, True),
    ],
)
def test_whom_the_pieces_serve(device: str, dtype: torch.dtype, wanted: bool) -> None:
    stand_in: Any = SimpleNamespace(requires_grad=True, device=torch.device(device))
    assert head_gradients.serves(stand_in, stand_in, dtype) == wanted
    with torch.no_grad():
        assert not head_gradients.serves(stand_in, stand_in, dtype)


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("piece", [10**4, 2**28])
def test_the_loss_on_a_gpu_is_that_of_a_cpu(monkeypatch: pytest.MonkeyPatch, piece: int, compiled: bool) -> None:
    monkeypatch.setattr(head_gradients, "GPU_PIECE", piece)
    torch.manual_seed(0)
    exact = [torch.randn(shape, requires_grad=True) for shape in ((777, 32), (320, 32), (320,))]
    targets = torch.randint(0, 311, (777,))
    targets[::7] = head_gradients.IGNORED
    expected = cross_entropy(linear(*exact)[:, :311], targets, reduction="sum")
    mine = [each.detach().cuda().requires_grad_() for each in exact]
    measure = torch.compile(head.summed_cross_entropy, dynamic=False) if compiled else head.summed_cross_entropy

    def run() -> tuple[torch.Tensor, ...]:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss, _ = measure(mine[0], mine[1], targets.cuda(), 311, mine[2])
        return loss, *torch.autograd.grad(loss, mine)

    run()
    for own, reference in zip(run(), (expected, *torch.autograd.grad(expected, exact)), strict=True):
        scale = reference.abs().mean().item()
        torch.testing.assert_close(own.cpu() / scale, reference / scale, atol=0.2, rtol=0.02)
