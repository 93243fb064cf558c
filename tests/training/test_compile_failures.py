"""A compiler that fails late: on backward, in what it made, at a new shape, in one process of two."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo.backends.common import aot_autograd
from torch._functorch._aot_autograd.utils import make_boxed_func

from model.config import ModelConfig
from model.decoder import Decoder
from training.batching.batches import Microbatch
from training.devices.compilation import compiled, switch_of
from training.devices.distributed import World
from training.devices.precision import Precision
from training.devices.strategy import Strategy
from training.optimization.optimizers import Optimizers
from training.step import Stepper
from training.tasks.causal import CausalLoss, next_tokens

CPU = torch.device("cpu")
Compiler = Callable[[torch.fx.GraphModule, list[torch.Tensor]], Callable[..., Any]]


def as_it_is(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
    boxed: Callable[..., Any] = make_boxed_func(graph.forward)
    return boxed


def fails(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
    raise OSError("no room for the kernel of backward\nand more")


def makes_what_fails(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
    def run(*values: Any) -> Any:
        raise RuntimeError("the kernel of backward does not start")

    boxed: Callable[..., Any] = make_boxed_func(run)
    return boxed


def at_the_second_shape() -> Compiler:
    calls: list[int] = []

    def compile_once(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        calls.append(1)
        return as_it_is(graph, inputs) if len(calls) == 1 else fails(graph, inputs)

    return compile_once


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was warned of; a record that reached the fixture on two ways counts once."""
    records = {id(record): record for record in caplog.records if record.levelno == logging.WARNING}
    return [record.getMessage() for record in records.values() if record.name.startswith("mateconv")]


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Callable[[Compiler], None]:
    """Puts a compiler of backward in the place of torch's own."""
    monkeypatch.setattr(logging.getLogger("mateconv"), "propagate", True)
    compile_with = torch.compile

    def put(backward: Compiler) -> None:
        torch.compiler.reset()
        backend = aot_autograd(fw_compiler=as_it_is, bw_compiler=backward)
        monkeypatch.setattr(
            torch, "compile", lambda plain, dynamic: compile_with(plain, backend=backend, dynamic=dynamic)
        )

    return put


def steps_of(choice: bool) -> tuple[Stepper, Decoder]:
    torch.manual_seed(3)
    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 48, "dropout": 0.3}
    model = Decoder(ModelConfig(**sizes, num_attention_heads=2, num_key_value_heads=1), 101).train()
    optimizers = Optimizers({"adamw": torch.optim.AdamW(model.parameters())})
    strategy = Strategy(World(), CPU)
    module = compiled(CausalLoss(model), choice, CPU)
    return Stepper(module, optimizers, Precision(CPU, torch.float32), strategy, 1.0), model


def batches(length: int, count: int = 2) -> list[Microbatch]:
    rows = torch.randint(0, 101, (count, 2, length + 1), generator=torch.Generator().manual_seed(5))
    return [next_tokens(part[:, :-1], part[:, 1:], 2 * length) for part in rows]


def train(choice: bool, lengths: list[int]) -> tuple[list[float], Decoder, Stepper]:
    stepper, model = steps_of(choice)
    losses = []
    for number, length in enumerate(lengths):
        torch.manual_seed(number)
        result = stepper.run(batches(length), 1e-2, lambda: False)
        assert result is not None
        losses.append(result.loss)
    return losses, model, stepper


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [(fails, "no room for the kernel of backward"), (makes_what_fails, "the kernel of backward does not start")],
)
def test_backward_that_fails_costs_one_warning_and_no_number(
    plant: Callable[[Compiler], None], caplog: pytest.LogCaptureFixture, compiler: Compiler, reason: str
) -> None:
    plain = train(False, [9, 9])
    plant(compiler)
    losses, model, _ = train(True, [9, 9])
    assert losses == plain[0]
    for one, other in zip(model.parameters(), plain[1].parameters(), strict=True):
        assert torch.equal(one, other)
    assert warned(caplog) == [f"torch.compile failed ({reason}); training goes on uncompiled"]


def test_a_shape_that_comes_later_and_fails(
    plant: Callable[[Compiler], None], caplog: pytest.LogCaptureFixture
) -> None:
    plain = train(False, [9, 9, 11, 9])
    plant(at_the_second_shape())
    losses, _, stepper = train(True, [9, 9, 11, 9])
    assert losses == pytest.approx(plain[0], rel=1e-5)
    assert len(warned(caplog)) == 1
    switch = switch_of(stepper.module)
    assert switch is not None and not switch.on


def test_blocks_compiled_each_for_itself_share_a_switch(
    plant: Callable[[Compiler], None], caplog: pytest.LogCaptureFixture
) -> None:
    parts = [torch.nn.Linear(3, 3) for _ in range(3)]
    whole = torch.nn.Sequential(*parts)
    x = torch.randn(5, 3)
    expected = whole(x)
    plant(fails)
    assert compiled(whole, True, CPU, parts) is whole
    torch.testing.assert_close(whole(x), expected, rtol=0, atol=0)
    assert len(warned(caplog)) == 1
    assert switch_of(torch.nn.Linear(2, 3)) is None


@pytest.mark.parametrize(("compiler", "was"), [(as_it_is, True), (fails, False)])
def test_the_history_says_whether_the_run_was_compiled(
    compiler: Compiler, was: bool, command: Any, plant: Callable[[Compiler], None]
) -> None:
    plant(compiler)
    assert command.call("--compile", "true", "--preflight", "true", "--max_steps", "2").returncode == 0
    started, *_ = (command.directory / "out" / "history.jsonl").read_text().splitlines()
    assert json.loads(started)["compiled"] is was


# The second process's compiler fails on backward; the first one's would not.
PLANTED = """
import os, torch
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd
from training.devices import compilation

def make(graph, inputs):
    return make_boxed_func(graph.forward)

def broken(graph, inputs):
    raise OSError("planted")

compile_with = torch.compile
backend = aot_autograd(fw_compiler=make, bw_compiler=broken if os.environ["RANK"] == "1" else make)
torch.compile = lambda plain, dynamic: compile_with(plain, backend=backend, dynamic=dynamic)
compilation._missing = lambda device: None
"""
DRIVER = "import runpy, sys\nsys.argv.pop(0)\nrunpy.run_path(sys.argv[0], run_name='__main__')\n"


@pytest.mark.slow
def test_where_one_process_cannot_compile_none_does(
    command: Any, launcher: Callable[..., list[str]], tmp_path: Path
) -> None:
    one = command.call("--out_dir", "one", "--accumulation_steps", "2", "--max_steps", "4")
    assert one.returncode == 0, one.stderr
    driver = tmp_path / "driver.py"
    driver.write_text(PLANTED + DRIVER)
    options = ["--out_dir", "two", "--ddp", "--compile", "true", "--max_steps", "4"]
    two = command.run(*options, launcher=[*launcher("torchrun", 2), str(driver)])
    assert two.returncode == 0, two.stderr
    assert two.stderr.count("torch.compile failed") == two.stderr.count("torch.compile failed (planted)") == 1
    for single, double in zip(command.rows("one"), command.rows("two"), strict=True):
        np.testing.assert_allclose(double["loss"], single["loss"], rtol=0, atol=1e-4)
