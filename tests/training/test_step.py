"""One optimizer step: accumulation is exact, and what is not finite never reaches the weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from training.batching.batches import IGNORED, Microbatch
from training.config import TrainingConfig
from training.devices.distributed import World
from training.devices.precision import Precision
from training.devices.strategy import Strategy
from training.optimization.optimizer import build_optimizers
from training.optimization.optimizers import Optimizers
from training.step import Stepper
from training.tasks.causal import CausalLoss, next_tokens

VOCABULARY, WIDTH = 13, 5


class TinyModel(nn.Module):
    """Predicts the next token from this one."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY)

    def loss(self, tokens: Tensor, targets: Tensor, segments: Tensor | None = None) -> tuple[Tensor, Tensor]:
        logits = self.head(self.embedding(tokens)).flatten(0, 1)
        total = nn.functional.cross_entropy(logits, targets.flatten(), ignore_index=IGNORED, reduction="sum")
        return total, (targets != IGNORED).sum()


def never() -> bool:
    return False


def microbatch(seed: int, rows: int, columns: int, predicted: int) -> Microbatch:
    """(rows, columns) tokens of which `predicted` are targets, the others ignored."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randint(VOCABULARY, (rows, columns), generator=generator)
    targets = torch.randint(VOCABULARY, (rows, columns), generator=generator).flatten()
    targets[torch.randperm(rows * columns, generator=generator)[predicted:]] = IGNORED
    return next_tokens(inputs, targets.view(rows, columns), predicted)


def stepper(
    model: nn.Module, optimizer: torch.optim.Optimizer, dtype: torch.dtype = torch.float32, clip: float | None = None
) -> Stepper:
    cpu = torch.device("cpu")
    strategy = Strategy(World(), cpu)
    return Stepper(CausalLoss(model), Optimizers({"only": optimizer}), Precision(cpu, dtype), strategy, clip)


def test_accumulation_equals_one_big_batch_when_token_counts_differ() -> None:
    """Microsteps with 1, 20 and 7 predicted tokens: the gradient is the mean over 28 tokens, in float64 to
    1e-12."""
    torch.manual_seed(3)
    model = TinyModel().double()
    batches = [microbatch(1, 3, 7, 1), microbatch(2, 3, 7, 20), microbatch(3, 3, 7, 7)]
    reference = copy.deepcopy(model)
    tokens = torch.cat([batch.tensors["inputs"].flatten() for batch in batches])
    targets = torch.cat([batch.tensors["targets"].flatten() for batch in batches])
    kept = targets != IGNORED
    logits = reference.head(reference.embedding(tokens[kept]))
    mean = -logits.log_softmax(-1)[torch.arange(28), targets[kept]].mean()
    mean.backward()
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in reference.parameters() if p.grad is not None))

    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    result = stepper(model, optimizer).run(batches, 1.0, never)

    assert result is not None and result.tokens == 28 and not result.skipped
    assert result.loss == pytest.approx(mean.item(), rel=1e-6)  # the loss itself is summed in float32
    assert result.grad_norm == pytest.approx(norm, rel=1e-6)
    for old, new, expected in zip(before, model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(old - new.detach(), expected.grad, rtol=1e-12, atol=1e-12)


def test_clipping_scales_the_whole_gradient() -> None:
    torch.manual_seed(3)
    model = TinyModel()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    result = stepper(model, torch.optim.SGD(model.parameters(), lr=1.0), clip=0.01).run(
        [microbatch(1, 3, 7, 19)], 1.0, never
    )
    moved = math.sqrt(
        sum(float((a - b.detach()).square().sum()) for a, b in zip(before, model.parameters(), strict=True))
    )
    assert result is not None and result.grad_norm > 0.1
    assert moved == pytest.approx(0.01, rel=1e-3)


def poison_weights(model: TinyModel) -> None:
    model.head.bias.register_hook(lambda gradient: gradient * math.nan)


def poison_loss(model: TinyModel) -> None:
    plain = model.loss
    model.loss = lambda tokens, targets, segments: (plain(tokens, targets)[0] + math.inf, targets.sum())  # type: ignore[method-assign,assignment,misc]


@pytest.mark.parametrize("poison", [poison_weights, poison_loss])
def test_a_step_that_is_not_finite_touches_neither_weights_nor_moments(poison: Callable[[TinyModel], None]) -> None:
    torch.manual_seed(3)
    model = TinyModel()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    steps = stepper(model, optimizer, clip=1.0)
    steps.run([microbatch(1, 3, 7, 19)], 0.1, never)
    weights, moments = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict()["state"])
    poison(model)
    result = steps.run([microbatch(2, 3, 7, 19)], 0.1, never)
    assert result is not None and result.skipped
    torch.testing.assert_close(model.state_dict(), weights, rtol=0, atol=0)
    torch.testing.assert_close(optimizer.state_dict()["state"], moments, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_interrupted_step_leaves_nothing_behind() -> None:
    torch.manual_seed(3)
    model = TinyModel()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    weights = copy.deepcopy(model.state_dict())
    answers = iter([False, True])
    result = stepper(model, optimizer).run([microbatch(1, 3, 7, 19)] * 3, 0.1, lambda: next(answers))
    assert result is None
    torch.testing.assert_close(model.state_dict(), weights, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_float16_goes_on_after_a_step_that_ran_out_of_memory_behind_its_backward_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = TinyModel()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    steps, batch = stepper(model, optimizer, dtype=torch.float16), [microbatch(1, 3, 7, 11)]
    assert steps.run(batch, 0.1, never) is not None
    steps.precision.scaler.update(512.0)
    with monkeypatch.context() as patch:
        patch.setattr(optimizer, "step", lambda: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory")))
        with pytest.raises(torch.OutOfMemoryError):
            steps.run(batch, 0.1, never)
    steps.forget()
    assert steps.precision.scaler.get_scale() == 512.0
    result = steps.run(batch, 0.1, never)
    assert result is not None and not result.skipped


def test_float16_overflow_lowers_the_scale_and_is_not_a_bad_step() -> None:
    torch.manual_seed(3)
    model = TinyModel()
    steps = stepper(model, torch.optim.AdamW(model.parameters(), lr=0.1), dtype=torch.float16)
    steps.run([microbatch(1, 3, 7, 19)], 0.1, never)
    scale = steps.precision.scaler.get_scale()
    poison_weights(model)
    result = steps.run([microbatch(2, 3, 7, 19)], 0.1, never)
    assert result is not None and result.skipped and result.overflow
    assert steps.precision.scaler.get_scale() == scale / 2


def test_only_matrices_decay() -> None:
    model = TinyModel()
    optimizer = build_optimizers(model, TrainingConfig(weight_decay=0.3), torch.device("cpu"))
    decay = {id(p): group["weight_decay"] for group in optimizer.groups() for p in group["params"]}
    assert decay == {id(p): (0.3 if p.ndim == 2 else 0.0) for p in model.parameters()}
