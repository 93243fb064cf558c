"""`--preset auto`: by memory on a GPU, by memory and time on a CPU; kept by a resume."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from foundation.errors import UserError
from model.architectures import settled
from model.config import ModelConfig
from model.costs import flops_per_token, parameters
from model.presets import PRESETS
from training.config import TrainingConfig
from training.preflight import preset
from training.preflight.preset import CORE_RATES, Work, resolve_preset, with_preset
from training.saving import checkpoint

AUTO = ModelConfig(preset="auto")
GPU, CPU = torch.device("cuda"), torch.device("cpu")
GB = 10**9


def resolved(monkeypatch: pytest.MonkeyPatch, memory: int, device: torch.device, **more: Any) -> ModelConfig:
    monkeypatch.setattr(preset, "memory_limit", lambda device, budget: min(memory, budget or memory))
    monkeypatch.setattr(preset, "_cores", lambda: 2)
    training = TrainingConfig(dtype="float32", **more.pop("training", {}))
    work = Work(more.pop("tokens", 10**6), 256, 32000)
    return resolve_preset(AUTO, more.pop("given", ()), more.pop("saved", None), training, work, device)


@pytest.mark.parametrize(
    ("memory", "name"),
    [(141, "350m"), (100, "350m"), (85, "124m"), (40, "124m"), (39, "124m"), (25.3, "60m"), (23, "60m"), (16, "30m"),
     (8, "15m"), (4, "7m"), (1, "3m")],
)  # fmt: skip
def test_a_gpu_is_judged_by_its_memory(memory: float, name: str, monkeypatch: Any) -> None:
    found = resolved(monkeypatch, int(memory * GB), GPU)
    assert found.preset == name
    assert {key: getattr(found, key) for key in PRESETS[name]} == dict(PRESETS[name])


@pytest.mark.parametrize(
    ("architecture", "memory", "name"),
    [("bert", 141, "bert-large"), ("bert", 25, "bert-base"), ("bert", 4, "bert-mini"),
     ("modernbert", 40, "modern-base"), ("modernbert", 1, "modern-tiny")],
)  # fmt: skip
def test_an_encoder_becomes_one_of_its_architecture(
    architecture: str, memory: float, name: str, monkeypatch: Any
) -> None:
    monkeypatch.setattr(preset, "memory_limit", lambda device, budget: int(memory * GB))
    model = settled(AUTO, [architecture], ())
    found = resolve_preset(model, (), None, TrainingConfig(), Work(10**6, 256, 30522, 0.15), GPU)
    assert found == settled(ModelConfig(**PRESETS[name], preset=name), [architecture], ())
    monkeypatch.setattr(preset, "memory_limit", lambda device, budget: 10**12)
    monkeypatch.setattr(preset, "_cores", lambda: 2)
    on_cpu = resolve_preset(model, (), None, TrainingConfig(dtype="float32"), Work(10**8, 256, 30522, 0.15), CPU)
    ladder = list(preset.ladder_of(model))
    assert on_cpu.preset is not None
    larger = with_preset(model, ladder[ladder.index(on_cpu.preset) - 1], ())
    # The whole row is attended to, and the head sees 15% of it: what fits into a night, and what does not.
    hours = [10**8 * flops_per_token(one, 30522, 256, 0.15) / 8e10 / 3600 for one in (on_cpu, larger)]
    assert hours[0] <= 8 < hours[1]


def test_a_budget_counts_as_the_memory_and_flags_win(monkeypatch: Any) -> None:
    assert resolved(monkeypatch, 141 * GB, GPU, training={"memory_budget": "24GB"}).preset == "60m"
    monkeypatch.setattr(preset, "memory_limit", lambda device, budget: 24 * GB)
    model = ModelConfig(preset="auto", num_hidden_layers=3)
    work = Work(10, 256, 32000)
    found = resolve_preset(model, {"num_hidden_layers"}, None, TrainingConfig(), work, GPU)
    assert (found.num_hidden_layers, found.hidden_size) == (3, PRESETS["60m"]["hidden_size"])


def test_a_cpu_is_judged_by_the_time_of_the_run(monkeypatch: Any) -> None:
    """The choice is the largest that ends within a night at the stated rate, and the next larger one does not."""
    names = list(preset.ladder_of(AUTO))
    seen = set()
    for tokens in (10**6, 6 * 10**6, 3 * 10**7, 10**8):
        name = resolved(monkeypatch, 10**12, CPU, tokens=tokens).preset
        assert name is not None
        seen.add(name)

        def hours(which: str, tokens: int = tokens) -> float:
            cost = flops_per_token(with_preset(AUTO, which, ()), 32000, 257 / 2)
            return tokens * cost / (2 * CORE_RATES[torch.float32]) / 3600

        assert hours(name) <= 8
        assert name == names[0] or hours(names[names.index(name) - 1]) > 8
    assert len(seen) >= 3


def test_a_cpu_is_judged_by_its_memory_and_by_a_time_budget(monkeypatch: Any) -> None:
    monkeypatch.setattr(preset, "resident", lambda: 4 * 10**8)
    for settings, name, larger, bytes_of_a_weight in (
        ({}, "30m", "60m", 28),  # weight, gradient, two moments; the writer holds a copy of all but the gradient
        ({"async_save": False}, "60m", "124m", 16),
        ({"async_save": False, "use_ema": True}, "30m", "60m", 20),
        ({"use_ema": True}, "15m", "30m", 36),
    ):
        memory = int((parameters(with_preset(AUTO, larger, ()), 32000) * bytes_of_a_weight + 4 * 10**8) / 0.92)
        assert resolved(monkeypatch, memory, CPU, training=settings).preset == name
    budget = resolved(monkeypatch, 10**12, CPU, tokens=None, training={"time_budget": "12h"})
    tokens = 20 * parameters(budget, 32000)
    assert tokens * flops_per_token(budget, 32000, 257 / 2) / (2 * CORE_RATES[torch.float32]) <= 12 * 3600
    assert resolved(monkeypatch, 10**12, CPU, tokens=10**12).preset == "3m"
    with pytest.raises(UserError, match="no preset trains within"):
        resolved(monkeypatch, 10**6, CPU)


def test_a_named_preset_is_left_alone() -> None:
    model = ModelConfig(preset="7m")
    assert resolve_preset(model, (), None, TrainingConfig(), Work(1, 8, 280), CPU) is model


def test_the_choice_is_recorded_and_a_resume_keeps_it(command: Any, monkeypatch: Any) -> None:
    from tests.training.conftest import TINY_RUN

    monkeypatch.setattr(preset, "LADDERS", {"llama": ("micro-v2", "micro-v1")})
    command.base = [*TINY_RUN, *command.base[-2:], "--preset", "auto", "--max_steps", "2"]
    done = command.call()
    assert done.returncode == 0, done.stderr
    assert "preset auto: micro-v2" in done.stdout
    content = checkpoint.load(command.directory / "out" / "ckpt.pth")
    assert content["model_config"]["preset"] == "micro-v2" and content["model_config"]["hidden_size"] == 8
    monkeypatch.setattr(preset, "LADDERS", {"llama": ("micro-v1",)})  # a smaller machine, say
    resumed = command.call("--resume", "--max_steps", "4")
    assert resumed.returncode == 0, resumed.stderr
    assert checkpoint.load(command.directory / "out" / "ckpt.pth")["model_config"]["hidden_size"] == 8
