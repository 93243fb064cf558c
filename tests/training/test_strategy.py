"""How a model is spread over ranks: what is sent when, and which formats."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.distributed.fsdp._fully_shard import _fsdp_param_group

from foundation.errors import UserError
from model.config import ModelConfig
from model.decoder import Decoder
from training.batching.batches import Microbatch
from training.config import TrainingConfig
from training.devices.choose_strategy import choose_strategy
from training.devices.distributed import World
from training.devices.precision import Precision
from training.devices.sharded import Sharded
from training.devices.strategy import Replicated, Strategy
from training.optimization.optimizer import build_optimizers
from training.step import Stepper
from training.tasks.causal import CausalLoss, next_tokens

CPU = torch.device("cpu")
VOCABULARY = 101


@pytest.fixture
def group() -> Iterator[None]:
    """A process group with this process alone: what would be sent is counted all the same."""
    store = dist.HashStore()  # type: ignore[attr-defined]
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def small_decoder() -> Decoder:
    torch.manual_seed(3)
    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 3, "intermediate_size": 48}
    return Decoder(ModelConfig(**sizes, num_attention_heads=4, num_key_value_heads=2), VOCABULARY)


def microbatches(count: int) -> list[Microbatch]:
    """Of two rows of 9 tokens."""
    generator = torch.Generator().manual_seed(5)
    rows = torch.randint(0, VOCABULARY, (count, 2, 10), generator=generator)
    return [next_tokens(part[:, :-1], part[:, 1:], 18) for part in rows]


def stepper(model: Decoder, strategy: Strategy, dtype: torch.dtype = torch.float32) -> Stepper:
    """One that is ready to step; `strategy` has prepared the model."""
    optimizers = build_optimizers(model, TrainingConfig(optimizer="adamw"), CPU)
    return Stepper(strategy.spread(CausalLoss(model)), optimizers, Precision(CPU, dtype), strategy, 1.0)


def weights_after_a_step(strategy: Strategy, dtype: torch.dtype = torch.float32) -> tuple[float, torch.Tensor]:
    """The loss of a step over three microbatches, and a matrix after it."""
    model = small_decoder()
    strategy.prepare(model)
    result = stepper(model, strategy, dtype).run(microbatches(3), 1e-2, lambda: False)
    assert result is not None
    return result.loss, strategy.model_state(model)["model.layers.1.mlp.up_proj.weight"].detach()


def test_replicas_sum_gradients_once_a_step(group: None) -> None:
    strategy, sums = Replicated(World(), CPU), []

    def counted(state, bucket):  # type: ignore[no-untyped-def]  # torch reads annotations, and knows no strings
        sums.append(bucket.buffer().numel())
        return allreduce_hook(dist.group.WORLD, bucket)  # type: ignore[arg-type]

    model = small_decoder()
    ready = stepper(model, strategy)
    ready.module.register_comm_hook(None, counted)  # type: ignore[operator]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    for accumulation in (4, 1):
        sums.clear()
        ready.run(microbatches(accumulation), 1e-2, lambda: False)
        assert sum(sums) == parameters
    # Gradients lie in what is sent: no copies of them.
    assert ready.module.gradient_as_bucket_view  # type: ignore[union-attr]


def test_shards_reduce_gradients_once_a_step(group: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block's and the rest's; until then the gradients of the microsteps are summed where they are."""
    reductions, reduce = [], _fsdp_param_group.foreach_reduce  # type: ignore[attr-defined]

    def counted(parameters: Any, *rest: Any, **more: Any) -> Any:
        reductions.append(len(parameters))
        return reduce(parameters, *rest, **more)

    monkeypatch.setattr(_fsdp_param_group, "foreach_reduce", counted)
    strategy, model = Sharded(World(), CPU, torch.float32), small_decoder()
    strategy.prepare(model)
    ready = stepper(model, strategy)
    for accumulation in (4, 1):
        reductions.clear()
        ready.run(microbatches(accumulation), 1e-2, lambda: False)
        assert len(reductions) == 3 + 1 and sum(reductions) == len(list(model.parameters()))


def test_strategies_agree(group: None) -> None:
    """The same loss and the same weights after a step as one process, in float32 and in bfloat16."""
    for dtype in (torch.float32, torch.bfloat16):
        loss, weight = weights_after_a_step(Strategy(World(), CPU), dtype)
        for strategy in (Replicated(World(), CPU), Sharded(World(), CPU, dtype)):
            other, moved = weights_after_a_step(strategy, dtype)
            assert other == pytest.approx(loss, abs=1e-6)
            torch.testing.assert_close(moved, weight, rtol=0, atol=1e-6)


def test_blocks_travel_in_the_format_of_their_products(group: None) -> None:
    """Their weights are gathered in bfloat16; what stays delicate is float32: residual stream, rotation, shards."""
    strategy, model = Sharded(World(), CPU, torch.bfloat16), small_decoder()
    strategy.prepare(model)
    seen: dict[str, torch.dtype] = {}
    block = model.model.layers[1]
    forward = block.forward

    def look(x: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor], *rest: Any) -> torch.Tensor:
        weight: torch.Tensor = block.get_parameter("mlp.up_proj.weight")
        seen.update(stream=x.dtype, rotation=rotation[0].dtype, weight=weight.dtype)
        out: torch.Tensor = forward(x, rotation, *rest)
        return out

    block.forward = look  # type: ignore[method-assign]
    stepper(model, strategy, torch.bfloat16).run(microbatches(1), 1e-2, lambda: False)
    assert seen == {"stream": torch.float32, "rotation": torch.float32, "weight": torch.bfloat16}
    assert {tensor.dtype for tensor in strategy.model_state(model).values()} == {torch.float32}


def test_nothing_stays_whole_between_passes(group: None) -> None:
    """An average that takes the weights' place must be what the next pass computes with, the embedding included."""
    strategy, model = Sharded(World(), CPU, torch.float32), small_decoder()
    strategy.prepare(model)
    module, batch = CausalLoss(model), microbatches(1)[0]
    shards = [parameter.detach() for parameter in model.parameters()]
    with torch.no_grad():
        before = float(module(**batch.tensors))
        for shard in shards:
            shard.zero_()
        after = float(module(**batch.tensors))
    uniform = 18 * float(torch.tensor(float(VOCABULARY)).log())
    assert after == pytest.approx(uniform, rel=1e-5) and before != pytest.approx(uniform, rel=1e-3)


def test_muon_needs_a_row_for_each_rank(group: None) -> None:
    """The decoder's smallest matrix has 16 rows."""
    strategy, model = Sharded(World(), CPU, torch.float32), small_decoder()
    strategy.prepare(model)
    muon, adamw = (build_optimizers(model, TrainingConfig(optimizer=name), CPU) for name in ("muon", "adamw"))
    Sharded(World(size=16), CPU, torch.float32).check(muon)
    too_many = Sharded(World(size=17), CPU, torch.float32)
    too_many.check(adamw)
    with pytest.raises(UserError, match="a matrix of 16 rows cannot be split over 17 processes"):
        too_many.check(muon)


def test_float16_is_refused_for_shards(group: None) -> None:
    with pytest.raises(UserError, match=r"--fsdp cannot train in float16.*--dtype bfloat16"):
        choose_strategy(World(size=2), CPU, torch.float16, sharded=True)


def test_compiled_parts_are_the_blocks() -> None:
    model = small_decoder()
    assert Strategy(World(), CPU).compiled_parts(model) == ()
    blocks = Sharded(World(), CPU, torch.float32).compiled_parts(model)
    assert all(a is b for a, b in zip(blocks, model.model.layers, strict=True)) and isinstance(blocks[0], nn.Module)
