"""What a step's memory is predicted to be, beside the memory that steps take."""

from __future__ import annotations

import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from model.config import ModelConfig
from model.decoder import Decoder
from training.batching.batches import Microbatch
from training.config import TrainingConfig
from training.devices.distributed import World
from training.devices.precision import Precision
from training.devices.sharded import Sharded
from training.devices.strategy import Replicated, Strategy
from training.optimization.optimizer import build_optimizers
from training.optimization.weight_average import WeightAverage
from training.preflight.memory import StepMemory, _Peaks, missing_bytes, missing_moments, step_memory
from training.tasks.causal import CausalLoss, next_tokens

ROOT = Path(__file__).resolve().parents[3]
CPU = torch.device("cpu")


class Allocator(TorchDispatchMode):
    """Counts the bytes of tensors as a GPU's allocator does: those of now, and the most since `reset`."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size

    def reset(self) -> None:
        self.most = self.now


@pytest.fixture
def alone_in_a_group() -> Iterator[None]:
    """A process group with this process alone."""
    store = dist.HashStore()  # type: ignore[attr-defined]
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.fixture
def allocator(monkeypatch: pytest.MonkeyPatch) -> Allocator:
    """One that stands in for CUDA's."""
    counting = Allocator()
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: counting.now)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: counting.most)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: counting.reset())
    return counting


def causal(vocabulary: int = 280, layers: int = 2) -> CausalLoss:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": layers, "intermediate_size": 48}
    return CausalLoss(Decoder(ModelConfig(**sizes, num_attention_heads=2, num_key_value_heads=1), vocabulary))


def rows_of(length: int) -> Callable[[int], Microbatch]:
    def batch_of(count: int) -> Microbatch:
        tokens = torch.ones(count, length, dtype=torch.int64)
        return next_tokens(tokens, tokens, count * length)

    return batch_of


def peaks(module: CausalLoss, strategy: Strategy, length: int = 16) -> _Peaks:
    return _Peaks(module, strategy, CPU, lambda count: module(**rows_of(length)(count).to(CPU)).sum())


def run_of(module: CausalLoss, training: TrainingConfig, strategy: Strategy | None = None) -> Any:
    """What `step_memory` asks of a snapshot, before its first step."""
    return SimpleNamespace(
        module=module,
        model=module.model,
        strategy=strategy or Strategy(World(), CPU),
        precision=Precision(CPU, torch.float32),
        optimizers=build_optimizers(module.model, training, CPU),
        average=WeightAverage(module.model, 0.9) if training.use_ema else None,
    )


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("length", [8, 64])
def test_the_line_through_few_sequences_holds_for_many(allocator: Allocator, checkpointing: bool, length: int) -> None:
    """A model most of whose weights are its vocabulary: gradients are larger than what a sequence keeps."""
    module = causal(vocabulary=4003)
    module.model.recompute = checkpointing  # type: ignore[assignment]
    with allocator:
        found = peaks(module, Strategy(World(), CPU), length).line(share=4096)
        assert all(parameter.grad is not None for parameter in module.parameters())
        for count in (1, 7, 256):
            module.zero_grad()
            allocator.reset()
            for _ in range(2):  # microsteps
                module(**rows_of(length)(count).to(CPU)).sum().backward()
            assert found.need(count) == pytest.approx(allocator.most, rel=0.06)


def test_sharded_weights_are_measured_with_whole_gradients_and_keep_none(
    allocator: Allocator, alone_in_a_group: None
) -> None:
    """Gradients of the measurement would be added to those of the run's first step."""
    strategy, gradients = Sharded(World(), CPU, torch.float32), []
    for measured in (False, True):
        module = causal()
        strategy.prepare(module)
        if measured:
            with allocator:
                assert peaks(module, strategy).line(share=8).per_sequence > 0
            module.zero_grad()
        with strategy.microstep(module, last=True):
            module(**rows_of(16)(3).to(CPU)).sum().backward()
        gradients.append([parameter.grad.full_tensor() for parameter in module.parameters()])  # type: ignore[union-attr]
    torch.testing.assert_close(*gradients, rtol=0, atol=0)


def test_buckets_of_replicas_lie_beside_the_gradients(alone_in_a_group: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the last microstep the gradients lie outside the buckets: both are there, and both are counted."""
    monkeypatch.setattr("training.preflight.memory.resident", lambda: 0)
    module, waiting = causal(), TrainingConfig(async_save=False)
    one, several = (
        step_memory(run_of(module, waiting, strategy), waiting, rows_of(16), 8)
        for strategy in (Strategy(World(), CPU), Replicated(World(), CPU))
    )
    assert several.need(1) - one.need(1) == 4 * sum(parameter.numel() for parameter in module.parameters())
    strategy = Replicated(World(), CPU)
    spread, parameter, places = strategy.spread(module), next(module.parameters()), []
    for last in (False, True):
        with strategy.microstep(spread, last):
            spread(**rows_of(16)(1).to(CPU)).sum().backward()
        assert parameter.grad is not None
        places.append(parameter.grad.data_ptr())
    assert places[0] != places[1]


@pytest.mark.parametrize(
    ("share", "most", "sizes"), [(8, 3, [1, 2, 3]), (8, 1, [1]), (1, 8, [1]), (12, 12, [1, 2, 3, 4])]
)
def test_what_ran_out_of_memory_is_no_choice(allocator: Allocator, share: int, most: int, sizes: list[int]) -> None:
    """More than `most` sequences do not fit the measurement: sizes that were not seen to fail are left."""
    module, limit, seen = causal(), [most], []

    def forward(count: int) -> torch.Tensor:
        seen.append(count)
        if count > limit[0]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        summed: torch.Tensor = module(**rows_of(16)(count).to(CPU)).sum()
        return summed

    with allocator:
        found = _Peaks(module, Strategy(World(), CPU), CPU, forward).line(share)
        assert [size for size in (1, 2, 3, 4) if found.largest([size], 1e12)] == sizes
        assert max(seen) <= share and (found.per_sequence > 0) is (min(share, most) > 1)
        limit[0] = 0
        with pytest.raises(torch.OutOfMemoryError):
            _Peaks(module, Strategy(World(), CPU), CPU, forward).line(share)


def test_step_memory_grows_with_the_sequences_and_leaves_no_gradient(monkeypatch: Any) -> None:
    monkeypatch.setattr("training.preflight.memory.resident", lambda: 0)
    module, training = causal(), TrainingConfig()
    snapshot = run_of(module, training)

    def memory(length: int, share: int = 8) -> StepMemory:
        return step_memory(snapshot, training, rows_of(length), share)

    short, long = memory(32), memory(64)
    assert long.per_sequence == pytest.approx(2 * short.per_sequence, rel=0.2)
    assert memory(32).per_sequence == short.per_sequence
    assert memory(32, share=1).need(1) == short.need(1)
    assert all(parameter.grad is None for parameter in module.parameters())


def test_a_block_that_is_computed_again_takes_its_memory_again(monkeypatch: Any) -> None:
    monkeypatch.setattr("training.preflight.memory.resident", lambda: 0)
    training, found = TrainingConfig(), {}
    for layers in (3, 4):
        module = causal(layers=layers)
        model: Any = module.model
        for recompute in (False, True):
            model.recompute = recompute
            found[layers, recompute] = step_memory(run_of(module, training), training, rows_of(32), 8).per_sequence
            assert model.recompute is recompute
    block, block_input = (found[4, False] - found[3, False]) / 2, 4 * 32 * 32
    assert block > 5 * block_input
    assert found[4, True] - found[3, True] == pytest.approx(6 * block_input, rel=0.05)
    assert found[3, True] > 6 * 3 * block_input + 2.5 * (block - block_input)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_what_a_run_holds_already_is_not_counted_again(optimizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resume has its moments, every run its average: need and what is held are the same in both."""
    held, needs = [10**6], []
    monkeypatch.setattr("training.preflight.memory.resident", lambda: held[0])
    for ema in (False, True):
        training = TrainingConfig(optimizer=optimizer, use_ema=ema, async_save=False)
        snapshot, held[0] = run_of(causal(), training), 10**6
        weights = sum(parameter.numel() for parameter in snapshot.module.parameters())
        assert missing_bytes(snapshot, training) == missing_moments(snapshot.optimizers) == 8 * weights
        fresh = step_memory(snapshot, training, rows_of(16), 8).need(4)
        snapshot.module(**rows_of(16)(2).to(CPU)).sum().backward()
        snapshot.optimizers.step(snapshot.precision.scaler)
        snapshot.optimizers.zero_grad()
        states = [state for member in snapshot.optimizers.members.values() for state in member.state.values()]
        moments = sum(v.nbytes for state in states for v in state.values() if isinstance(v, torch.Tensor))
        held[0] += moments
        assert moments >= 4 * weights
        assert step_memory(snapshot, training, rows_of(16), 8).need(4) == pytest.approx(fresh, abs=100)
        needs.append(fresh)
    assert needs[0] == needs[1]


def test_a_writer_on_a_cpu_takes_memory_of_its_own() -> None:
    def missing(**settings: Any) -> float:
        """In bytes a weight."""
        module, training = causal(), TrainingConfig(**settings)
        return missing_bytes(run_of(module, training), training) / sum(p.numel() for p in module.parameters())

    assert missing(async_save=False) == missing(async_save=False, use_ema=True) == 8
    assert missing() == 8 + 4 + 8 and missing(use_ema=True) == 8 + 4 + 4 + 8


def test_frozen_weights_have_no_moments() -> None:
    module, training = causal(), TrainingConfig(async_save=False)
    frozen = next(module.parameters()).requires_grad_(False)
    weights = sum(parameter.numel() for parameter in module.parameters())
    assert missing_bytes(run_of(module, training), training) == 8 * (weights - frozen.numel())


@pytest.mark.slow
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_prediction_agrees_with_the_resident_memory_of_a_real_step(dtype: str, recompute: bool) -> None:
    """A process of its own trains two steps; its peak lies between 0.55 and 1.05 of what was predicted."""
    code = f"""
import resource, torch
from types import SimpleNamespace
from model.config import ModelConfig
from model.decoder import Decoder
from training.batching.batches import Microbatch
from training.config import TrainingConfig
from training.devices.distributed import World
from training.devices.free_memory import file_pages
from training.devices.precision import Precision
from training.devices.strategy import Strategy
from training.optimization.optimizer import build_optimizers
from training.preflight.memory import step_memory
from training.step import Stepper
from training.tasks.causal import CausalLoss, next_tokens
import sys
torch.set_num_threads(2)
module = CausalLoss(Decoder(ModelConfig(hidden_size=256, num_hidden_layers=6), 8000))
module.model.recompute = {recompute}
precision = Precision(torch.device("cpu"), torch.{dtype})
batch = lambda n: next_tokens(torch.ones(n, 256, dtype=torch.int64), torch.ones(n, 256, dtype=torch.int64), n * 256)
if sys.argv[1] == "predict":
    training = TrainingConfig(async_save=False)
    optimizers = build_optimizers(module, training, torch.device("cpu"))
    strategy = Strategy(World(), torch.device("cpu"))
    run = SimpleNamespace(
        module=module, model=module.model, strategy=strategy, precision=precision, optimizers=optimizers, average=None
    )
    print(step_memory(run, training, batch, 16).need(16))
else:
    optimizer = torch.optim.AdamW(module.parameters(), fused=True)
    for _ in range(2):
        with precision.autocast():
            loss = module(**batch(16).to(precision.device)).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - file_pages())
"""
    predicted, actual = (
        int(
            subprocess.run(
                [sys.executable, "-c", code, what], cwd=ROOT, capture_output=True, text=True, check=True
            ).stdout
        )
        for what in ("predict", "train")
    )
    assert 0.55 < actual / predicted < 1.05
