"""Encoders whose weights are split over processes compute what whole ones do: also the tied head outside the blocks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from model.build import new_model
from model.config import ModelConfig
from model.encoder.heads import Heads
from training.devices.distributed import World
from training.devices.sharded import Sharded
from training.devices.strategy import Strategy
from training.tasks.mlm import MaskedLoss

CPU = torch.device("cpu")


@pytest.fixture
def group() -> Iterator[None]:
    """A process group with this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
    yield
    dist.destroy_process_group()


def gradients(architecture: str, strategy: Strategy, recompute: bool) -> tuple[float, dict[str, Tensor]]:
    """The loss of two packed rows, and its gradient for every weight."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 3, "local_attention": 4}
    config = ModelConfig(architecture=architecture, max_position_embeddings=32, **sizes)  # type: ignore[arg-type]
    model = new_model(config, 101, Heads(mlm=True)).train()
    model.recompute = recompute
    module = MaskedLoss(model)
    strategy.prepare(module)
    tokens, segments = torch.randint(0, 101, (2, 16)), torch.tensor([0, 9, 16, 32, 32], dtype=torch.int32)
    loss = strategy.spread(module)(tokens, segments, torch.tensor([1, 3, 20]), torch.tensor([5, 6, -100]))
    loss.sum().backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    return loss.item(), strategy.whole(found)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("architecture", ["bert", "modernbert"])
def test_split_weights_give_the_same_gradients(
    architecture: str, recompute: bool, group: None, recwarn: pytest.WarningsRecorder
) -> None:
    loss, whole = gradients(architecture, Strategy(World(), CPU), False)
    other, split = gradients(architecture, Sharded(World(), CPU, torch.float32), recompute)
    assert other == pytest.approx(loss, abs=1e-6)
    assert split.keys() == whole.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(split[name], gradient, rtol=0, atol=1e-6, msg=name)
    assert not [warning for warning in recwarn if "view" in str(warning.message)]
