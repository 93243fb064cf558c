"""Accumulation is exact: in float64, N microsteps are one batch of N times the size, however unequal the documents."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from model.config import ModelConfig
from model.decoder import Decoder
from training.batching.batches import IGNORED, Microbatch
from training.config import TrainingConfig
from training.devices.distributed import World
from training.devices.precision import Precision
from training.devices.strategy import Strategy
from training.optimization.optimizer import build_optimizers
from training.optimization.optimizers import Optimizers
from training.step import Stepper
from training.tasks.base import LossModule
from training.tasks.causal import CausalLoss, next_tokens

CPU = torch.device("cpu")
VOCABULARY, LENGTH, ROWS = 61, 19, 12
TINY = ModelConfig(
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    num_key_value_heads=1,
    intermediate_size=40,
    qk_norm=True,
)


def rows() -> tuple[Tensor, Tensor]:
    """(ROWS, LENGTH) tokens of one document each, from 1 to LENGTH tokens long, and their targets."""
    generator = np.random.default_rng(7)
    tokens = torch.from_numpy(generator.integers(VOCABULARY, size=(ROWS, LENGTH + 1)))
    targets = tokens[:, 1:].clone()
    for row, length in enumerate([1, 19, 2, 17, 3, 5, 1, 1, 13, 19, 7, 11]):
        targets[row, length:] = IGNORED
    return tokens[:, :-1].clone(), targets


def cut(microsteps: int) -> list[Microbatch]:
    """The same rows in so many microbatches."""
    inputs, targets = rows()
    size = ROWS // microsteps
    pairs = zip(inputs.split(size), targets.split(size), strict=True)
    return [next_tokens(a, b, int((b != IGNORED).sum())) for a, b in pairs]


def stepped(model: Decoder, optimizers: Optimizers, batches: Sequence[Microbatch], clip: float | None) -> list[Tensor]:
    """The weights after two steps on the same batches."""
    stepper = Stepper(CausalLoss(model), optimizers, Precision(CPU, torch.float32), Strategy(World(), CPU), clip)
    for rate in (0.05, 0.02):
        result = stepper.run(batches, rate, lambda: False)
        assert result is not None and not result.skipped and result.tokens == 99
    return [parameter.detach() for parameter in model.parameters()]


def apart(ours: Tensor, theirs: Tensor) -> float:
    """The relative distance of two moves of a weight."""
    return float((ours - theirs).detach().norm() / theirs.detach().norm())


@pytest.mark.parametrize("microsteps", [2, 4, 12])
@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_microsteps_equal_one_batch_of_their_size(microsteps: int, kind: str) -> None:
    torch.manual_seed(2)
    model = Decoder(TINY, VOCABULARY).double()
    settings = TrainingConfig(weight_decay=0.1, betas=(0.8, 0.9))
    results = []
    for number in (1, microsteps):
        own = copy.deepcopy(model)
        optimizers = build_optimizers(own, settings, CPU)
        if kind == "sgd":  # shows the gradient itself; adamw would hide its size
            optimizers = Optimizers({"sgd": torch.optim.SGD(own.parameters(), lr=1.0)})
        results.append(stepped(own, optimizers, cut(number), clip=0.3))
    for before, whole, parts in zip(model.parameters(), *results, strict=True):
        assert apart(before - parts, before - whole) < 1e-10


def test_the_mean_is_over_tokens_not_over_microsteps() -> None:
    """The gradient of the step is that of the plain mean over all 99 predicted tokens."""
    torch.manual_seed(2)
    model = Decoder(TINY, VOCABULARY).double()
    reference = copy.deepcopy(model)
    inputs, targets = rows()
    logits = reference(inputs)
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED).backward()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    sgd = Optimizers({"sgd": torch.optim.SGD(model.parameters(), lr=1.0)})
    stepper = Stepper(CausalLoss(model), sgd, Precision(CPU, torch.float32), Strategy(World(), CPU), None)
    stepper.run(cut(4), 1.0, lambda: False)
    for old, new, expected in zip(before, model.parameters(), reference.parameters(), strict=True):
        assert expected.grad is not None
        assert apart(old - new.detach(), expected.grad) < 1e-10


class Two(LossModule):
    """Two losses of one weight: a sum of squares and a sum of cubes, of as many terms as each microbatch says."""

    def forward(self, squares: Tensor, cubes: Tensor) -> Tensor:
        weight = next(self.model.parameters())
        return torch.stack([(weight * squares).square().sum(), (weight * cubes).pow(3).sum()])


@pytest.mark.parametrize("microsteps", [1, 2, 3])
def test_each_of_several_losses_is_a_mean_of_its_own(microsteps: int) -> None:
    """The gradient and the values are those of mean + mean over all terms, a microstep without any of one included."""
    model = torch.nn.Linear(1, 1, bias=False).double()
    squares, cubes = torch.arange(1.0, 7.0).double(), torch.tensor([0.5, 2.0]).double()
    empty = torch.zeros(0).double()
    parts = [
        Microbatch({"squares": a, "cubes": b}, (len(a), len(b)), tokens=10 * len(a))
        for a, b in {
            1: [(squares, cubes)],
            2: [(squares[:5], empty), (squares[5:], cubes)],
            3: [(squares[:1], cubes[:1]), (empty, cubes[1:]), (squares[1:], empty)],
        }[microsteps]
    ]
    weight = next(model.parameters()).detach().clone()
    sgd = Optimizers({"sgd": torch.optim.SGD(model.parameters(), lr=1.0)})
    result = Stepper(Two(model), sgd, Precision(CPU, torch.float32), Strategy(World(), CPU), None).run(
        parts, 1.0, lambda: False
    )
    first, second = (float((weight * squares).square().mean()), float((weight * cubes).pow(3).mean()))
    expected = 2 * weight * squares.square().mean() + 3 * weight.square() * cubes.pow(3).mean()
    assert result is not None and result.tokens == 60
    assert result.losses == pytest.approx((first, second)) and result.loss == pytest.approx(first + second)
    assert apart(weight - next(model.parameters()).detach(), expected) < 1e-10
