"""When the model is compiled, what happens where the compiler fails, and what recomputation changes."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

from model.config import ModelConfig
from model.decoder import Decoder
from training.config import DataConfig, LoggingConfig, TrainFlags, TrainingConfig
from training.devices import compilation
from training.devices.compilation import Compiled, compiled, switch_of
from training.devices.precision import set_tf32
from training.finetuning import repeats
from training.run_config import RunConfig

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_auto_compiles_on_cuda_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "_missing", lambda device: None)
    module = nn.Linear(2, 3)
    assert switch_of(module) is None and switch_of(compiled(module, None, CUDA)) is not None
    assert compiled(module, None, CPU) is module and compiled(module, False, CUDA) is module
    assert isinstance(compiled(module, None, CUDA), Compiled) and isinstance(compiled(module, True, CPU), Compiled)


def test_a_long_run_on_a_cpu_is_told_what_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "_missing", lambda device: None)
    assert "--compile true" in (compilation.advice(None, CPU, 7200) or "")
    silent = [(None, CPU, 600.0), (None, CUDA, 7200.0), (True, CPU, 7200.0), (False, CPU, 7200.0)]
    assert [compilation.advice(*case) for case in silent] == [None] * 4
    monkeypatch.setattr(compilation, "_missing", lambda device: "no C++ compiler here")
    assert compilation.advice(None, CPU, 7200) is None


def test_without_a_compiler_the_run_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(logging.getLogger("mateconv"), "propagate", True)
    module = nn.Linear(2, 3)
    assert compiled(module, True, CPU) is module
    assert "no C++ compiler here (looked for no-such-compiler and clang++)" in caplog.text


def test_a_compiler_that_fails_is_left_out_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import torch._inductor.config as inductor

    monkeypatch.setattr(logging.getLogger("mateconv"), "propagate", True)
    module = nn.Sequential(nn.Linear(5, 3), nn.GELU())
    wrapped = compiled(module, True, CPU)
    x = torch.randn(7, 5)
    with inductor.patch({"cpp.cxx": ("false",), "force_disable_caches": True}):
        first, second = wrapped(x), wrapped(x + 1)
    torch.testing.assert_close(first, module(x), rtol=0, atol=0)
    torch.testing.assert_close(second, module(x + 1), rtol=0, atol=0)
    # The same record may reach the fixture on two ways.
    records = {id(record): record for record in caplog.records if record.name.startswith("mateconv")}
    (warning,) = (record.getMessage() for record in records.values() if record.levelno == logging.WARNING)
    assert warning.startswith("torch.compile failed (") and warning.endswith("; training goes on uncompiled")
    assert [name for name, _ in wrapped.named_parameters()] == ["plain.0.weight", "plain.0.bias"]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> CompileCounterWithBackend:
    """What is compiled is only counted, and runs as it is."""
    counter = CompileCounterWithBackend("eager")
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counter))
    return counter


@pytest.mark.parametrize("in_parts", [False, True])
def test_many_shapes_are_compiled(counted: CompileCounterWithBackend, in_parts: bool) -> None:
    """More than torch would of its own accord; what it leaves out runs uncompiled and says so nowhere."""
    module = nn.Sequential(nn.Linear(5, 3), nn.GELU())
    wrapped = compiled(module, True, CPU, list(module) if in_parts else ())
    for rows in range(2, 13):
        wrapped(torch.randn(rows, 5))
    assert counted.frame_count == 11 * (2 if in_parts else 1)


def test_each_run_of_a_process_compiles_anew(
    monkeypatch: pytest.MonkeyPatch, counted: CompileCounterWithBackend
) -> None:
    function = torch.compile(lambda x: x + 1, dynamic=False)

    def run(config: object) -> int:
        function(torch.ones(3))
        return 0

    monkeypatch.setattr(repeats, "run_training", run)
    config = RunConfig(DataConfig(), ModelConfig(), TrainingConfig(), LoggingConfig(), TrainFlags())
    assert [repeats.train(config) for _ in range(3)] == [0, 0, 0]
    assert counted.frame_count == 3


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_recomputed_activations_change_memory_and_no_number(dropout: float) -> None:
    config = ModelConfig(hidden_size=32, num_attention_heads=4, num_key_value_heads=2, dropout=dropout)
    tokens = torch.randint(0, 101, (3, 40))

    def step(recompute: bool) -> tuple[torch.Tensor, list[torch.Tensor], int]:
        torch.manual_seed(0)
        model = Decoder(config, 101).train()
        model.model.recompute = recompute
        kept: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss, _ = model.loss(tokens, tokens)
            size = sum(kept.values())
        return loss, list(torch.autograd.grad(loss, list(model.parameters()))), size

    plain, recomputed = step(False), step(True)
    assert torch.equal(plain[0], recomputed[0])
    assert all(torch.equal(one, other) for one, other in zip(plain[1], recomputed[1], strict=True))
    assert recomputed[2] < 0.5 * plain[2]


@pytest.mark.gpu
@pytest.mark.parametrize(("allowed", "precision"), [(True, "high"), (False, "highest")])
def test_tf32_is_torchs_setting(allowed: bool, precision: str) -> None:
    before = torch.get_float32_matmul_precision()
    try:
        set_tf32(allowed, CUDA)
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)


def test_tf32_leaves_other_devices_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", told.append)
    set_tf32(True, CPU)
    assert told == []
    set_tf32(True, CUDA)
    set_tf32(False, CUDA)
    assert told == ["high", "highest"]


@pytest.mark.slow
@pytest.mark.skipif(compilation._missing(CPU) is not None, reason="no C++ compiler here")
@pytest.mark.parametrize(("options", "ranks"), [((), 1), (("--ddp",), 2), (("--ddp", "--fsdp"), 2)])
def test_a_compiled_run_is_the_plain_run(
    command: Any, launcher: Callable[..., list[str]], options: tuple[str, ...], ranks: int
) -> None:
    start = launcher("torchrun", ranks) if ranks > 1 else ()
    for name in ("plain", "compiled"):
        compile_it = str(name == "compiled").lower()
        done = command.run("--out_dir", name, "--compile", compile_it, *options, launcher=start)
        assert done.returncode == 0 and "uncompiled" not in done.stderr, done.stderr
    losses = [[row["loss"] for row in command.rows(name)] for name in ("plain", "compiled")]
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
