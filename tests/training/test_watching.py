"""What goes wrong while training: broken moments, loss spikes, memory that runs out; each with its samples."""

from __future__ import annotations

import copy
import math
import random
import statistics
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from foundation.errors import UserError
from shards.dataset import Dataset
from shards.packing import PackedSamples
from training.batching.batches import BatchPlan
from training.config import TrainFlags, TrainingConfig
from training.devices.compilation import Compiled
from training.devices.distributed import World
from training.devices.out_of_memory import is_out_of_memory
from training.loggers.fan_out import Loggers
from training.optimization.optimizers import Optimizers
from training.saving.run_directory import RunDirectory
from training.saving.smaller_microbatch import left
from training.state import RunState
from training.tasks.causal import CausalLoss
from training.watching.memory import with_less_memory
from training.watching.moments import Moments
from training.watching.places import documents, in_words, microstep_samples
from training.watching.spikes import SpikeDetector

OPTIMIZERS = {
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.1),
    "amsgrad": lambda parameters: torch.optim.Adam(parameters, lr=0.1, amsgrad=True),
    "muon": lambda parameters: torch.optim.Muon(parameters, lr=0.1),
}


def trained(name: str) -> tuple[nn.Sequential, Optimizers, Moments]:
    """Two matrices after a step."""
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(5, 7, bias=False), nn.Linear(7, 3, bias=False))
    optimizers = Optimizers({name: OPTIMIZERS[name](list(model.parameters()))})
    moments = Moments(CausalLoss(model), optimizers, World())
    assert moments.broken() is None
    model(torch.randn(11, 5)).square().sum().backward()
    optimizers.members[name].step()
    return model, optimizers, moments


def matrix(model: nn.Sequential, number: int) -> torch.Tensor:
    return list(model.parameters())[number]


def count(moments: Moments) -> int:
    broken = moments.broken()
    assert broken is not None
    return int(broken)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_broken_moment_is_found_and_forgotten_with_the_others_of_its_weight(name: str, value: float) -> None:
    model, optimizers, moments = trained(name)
    assert count(moments) == 0 and moments.repair() == []
    state = optimizers.members[name].state[matrix(model, 1)]
    sound = copy.deepcopy(optimizers.state_dict())
    tensors = [key for key, moment in state.items() if isinstance(moment, torch.Tensor) and moment.ndim == 2]
    state[tensors[-1]][1, 4] = value
    assert count(moments) == 1
    assert moments.repair() == ["1.weight"]
    assert count(moments) == 0
    for key in tensors:
        expected = sound[name]["state"][1][key].clone()
        expected[1, 4] = 0
        torch.testing.assert_close(state[key], expected, rtol=0, atol=0)
    untouched = optimizers.members[name].state[matrix(model, 0)]
    for key in tensors:
        torch.testing.assert_close(untouched[key], sound[name]["state"][0][key], rtol=0, atol=0)


@pytest.mark.parametrize("spread", [False, True])
def test_a_weight_is_named_as_in_the_plain_module(spread: bool) -> None:
    model, optimizers, _ = trained("adamw")
    optimizers.members["adamw"].state[matrix(model, 1)]["step"].fill_(math.nan)
    module: nn.Module = Compiled(CausalLoss(model))
    if spread:  # as DistributedDataParallel holds it
        module = nn.ModuleDict({"module": module})
    assert Moments(module, optimizers, World()).repair() == ["1.weight"]


def test_a_broken_count_of_steps_starts_the_weight_anew() -> None:
    model, optimizers, moments = trained("adamw")
    state = optimizers.members["adamw"].state[matrix(model, 1)]
    state["step"].fill_(math.inf)
    assert count(moments) == 1 and moments.repair() == ["1.weight"] and count(moments) == 0
    assert all(not value.any() for value in state.values())
    assert all(value.any() for value in optimizers.members["adamw"].state[matrix(model, 0)].values())


def test_ranks_that_hold_the_same_moments_forget_the_same() -> None:
    """Another rank's moment is broken at (2, 3) of the second matrix; this one's at (0, 0)."""

    class Two(World):
        def add_up(self, tensor: torch.Tensor) -> torch.Tensor:
            if tensor.shape == (3, 7):
                tensor[2, 3] += 1
            return tensor

    model, optimizers, _ = trained("adamw")
    state = optimizers.members["adamw"].state[matrix(model, 1)]
    state["exp_avg"][0, 0] = math.nan
    assert Moments(model, optimizers, Two()).repair() == ["1.weight"]
    for key in ("exp_avg", "exp_avg_sq"):
        assert (state[key] == 0).nonzero().tolist() == [[0, 0], [2, 3]]


def test_a_spike_is_found_where_it_was_planted_and_nowhere_else() -> None:
    """Losses that fall from 10 to 4 with a noise of 0.1, and three planted ones."""
    chance = random.Random(1)
    planted = {150: 1.4, 151: 3.0, 400: 2.0}
    memory: dict[str, Any] = {}
    detector = SpikeDetector(6.0, memory)
    found = {}
    for step in range(600):
        loss = 4 + 6 * math.exp(-step / 80) + chance.gauss(0, 0.1) + planted.get(step, 0)
        if spike := detector.see(loss):
            found[step] = spike
            assert spike.loss == loss and abs(spike.expected - (loss - planted[step])) < 0.6
    assert found.keys() == planted.keys()
    assert all(isinstance(value, int | float) for value in memory.values())


def test_the_mean_is_a_plain_one_at_first_and_nothing_is_a_spike_without_a_threshold() -> None:
    losses = [5.0, 4.0, 4.5, 6.0, 3.0]
    memory: dict[str, Any] = {}
    detector = SpikeDetector(None, memory)
    for loss in losses:
        assert detector.see(loss) is None
    assert memory["mean"] == pytest.approx(statistics.fmean(losses))
    assert detector.see(math.nan) is None and memory["count"] == 5
    assert all(detector.see(loss) is None for loss in [4.0] * 50 + [1000.0])


def test_a_new_level_becomes_usual() -> None:
    detector = SpikeDetector(6.0, {})
    for _ in range(50):
        detector.see(4.0)
    spikes = [detector.see(5.0) is not None for _ in range(60)]
    assert spikes[0] and not any(spikes[-20:])


def test_samples_of_microsteps_are_those_of_the_plan() -> None:
    """Two ranks, three microsteps of two samples each: by hand from the plan's own numbers."""
    plans = [BatchPlan(2, 3, 2, rank) for rank in range(2)]
    for number in range(3):
        expected = sorted(np.concatenate([plan.sample_numbers(24, number) for plan in plans]).tolist())
        assert microstep_samples(plans[0], 24, [number]) == [[expected[0], expected[-1]]]
    assert microstep_samples(plans[0], 24, [2, 0, 1]) == [[24, 35]]
    assert in_words(microstep_samples(plans[0], 24, [0, 2])) == "24 to 27, 32 to 35"


def test_documents_of_a_sample_are_where_its_tokens_stand(dataset: Path) -> None:
    opened = Dataset.open(dataset, "train")
    samples = PackedSamples(opened, 17, seed=3)
    found = documents(samples, [[4, 5], [9, 9]])
    stream = np.concatenate([opened.document(number) for number in range(opened.documents)])
    for piece in found:
        assert piece["split"] == "train" and piece["dataset"] == str(dataset)
    for number in (4, 5, 9):
        pieces = [piece for piece in found if piece["sample"] == number]
        tokens = np.concatenate([stream[p["token"] : p["token"] + p["tokens"]] for p in pieces])
        np.testing.assert_array_equal(tokens[:17], samples.batch(np.array([number])).inputs[0])


@pytest.mark.parametrize(("ranks", "moving"), [(2, False), (1, True)])
def test_where_memory_cannot_be_answered_the_next_start_takes_less(ranks: int, moving: bool, tmp_path: Path) -> None:
    """Other processes wait for this one's gradients; or half of the weights have moved already."""
    training, directory = TrainingConfig(batch_size=6, accumulation_steps=2), RunDirectory(tmp_path)
    parts: Any = SimpleNamespace(
        plan=BatchPlan(6, 2, ranks),
        world=World(ranks - 1, ranks),
        stepper=SimpleNamespace(moving=moving),
        directory=directory,
        training=training,
        loggers=Loggers(),
    )
    told = rf"process {ranks - 1} .*--resume begins again.*3 sequences at a time in 4 microsteps"
    with pytest.raises(UserError, match=told):
        with_less_memory(parts, RunState(step=8), "CUDA out of memory.")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step_000005.pth").touch()
    with pytest.raises(UserError, match="--resume goes on from the last checkpoint"):
        with_less_memory(parts, RunState(step=8), "CUDA out of memory.")
    again = TrainFlags(resume=True)
    assert left(directory, training, again, World()) == 3
    assert left(directory, training, TrainFlags(), World()) is None
    assert left(directory, TrainingConfig(batch_size=12), again, World()) is None
    for broken in ("", "[]", '{"batch_size": 6}', '{"batch_size": 6, "microbatch": 0}'):
        directory.microbatch.write_text(broken)
        assert left(directory, training, again, World()) is None


def test_out_of_memory_is_told_from_other_errors() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shapes do not match")) and not is_out_of_memory(ValueError())
