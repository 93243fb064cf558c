"""Several GPUs over NCCL: the curve of one, whole and in shards, compiled too. Run where there are two GPUs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from .conftest import Command

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs"),
]

OPTIONS = ("--device", "cuda", "--lr_scheduler", "constant", "--use_ema", "true")


@pytest.mark.parametrize("kind", ["--ddp", "--fsdp"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_two_gpus_equal_one(command: Command, launcher: Callable[..., list[str]], kind: str, dtype: str) -> None:
    options = (*OPTIONS, "--dtype", dtype, "--tf32", "false")
    one = command.run(*options, "--out_dir", "one", "--accumulation_steps", "4")
    assert one.returncode == 0, one.stderr
    two = command.run(*options, "--out_dir", "two", "--accumulation_steps", "2", kind, launcher=launcher("torchrun", 2))
    assert two.returncode == 0, two.stderr
    assert "Warning" not in two.stderr
    near = 1e-3 if dtype == "float32" else 5e-2
    for single, double in zip(command.rows("one"), command.rows("two"), strict=True):
        for key in single.keys() & {"loss", "val_loss", "val_loss_ema"}:
            assert double[key] == pytest.approx(single[key], abs=near), (key, single["step"])


@pytest.mark.parametrize("kind", ["--ddp", "--fsdp"])
def test_compiled_over_two_gpus(command: Command, launcher: Callable[..., list[str]], kind: str) -> None:
    options = (*OPTIONS, "--dtype", "bfloat16", "--activation_checkpointing", "true", kind)
    for name, compile_it in (("eager", "false"), ("compiled", "true")):
        done = command.run(*options, "--out_dir", name, "--compile", compile_it, launcher=launcher("torchrun", 2))
        assert done.returncode == 0, done.stderr
        assert "torch.compile failed" not in done.stderr
    for one, other in zip(command.rows("eager"), command.rows("compiled"), strict=True):
        assert other["loss"] == pytest.approx(one["loss"], abs=5e-2)


def test_a_killed_process_ends_the_other_gpu(command: Command, launcher: Callable[..., list[str]]) -> None:
    """Also where the other one waits for it in NCCL: torchrun ends it, at the latest after 30 seconds."""
    launch = launcher("torchrun", 2)
    driver = command.directory / "driver.py"
    driver.write_text(
        "import os, runpy, sys\n"
        "if os.environ['RANK'] == '1': os.environ['MATECONV_FAILPOINT'] = 'training.step:6'\n"
        "sys.argv.pop(0)\nrunpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    done = command.run(*OPTIONS, "--ddp", launcher=[*launch, str(driver)])
    assert done.returncode != 0 and "SIGKILL" in done.stderr.split("Root Cause")[1]
    assert (command.directory / "out/checkpoints/step_000004.pth").is_file()
