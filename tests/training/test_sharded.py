"""FSDP2 over two processes: the curve of one, checkpoints that any strategy continues, ranks without a batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_flatten

from model.checkpoint_file import read_checkpoint

# batch_size 5: the 24 rows of the validation split leave one rank without a batch in the last round.
SETTINGS = ("--batch_size", "5", "--use_ema", "true", "--lr_scheduler", "constant")
MUON = ("--optimizer", "muon")


def assert_same_checkpoint(path: Path, other: Path) -> None:
    """Names, shapes and values, whole tensors in both."""
    ours, theirs = read_checkpoint(path), read_checkpoint(other)
    for key in ("model", "optimizer", "ema"):
        leaves, structure = tree_flatten(ours[key])
        expected, expected_structure = tree_flatten(theirs[key])
        assert structure == expected_structure
        for value, wanted in zip(leaves, expected, strict=True):
            if not isinstance(wanted, torch.Tensor):
                assert value == wanted
                continue
            assert value.shape == wanted.shape and value.dtype == wanted.dtype
            assert float((value - wanted).norm()) <= 1e-3 * float(wanted.norm())


def test_two_sharded_processes_equal_one(command: Any, launcher: Callable[..., list[str]]) -> None:
    """With gradient accumulation, EMA, validation; and one process takes the run over."""
    one = command.call(*SETTINGS, "--out_dir", "one", "--accumulation_steps", "4")
    assert one.returncode == 0, one.stderr
    sharded = (*SETTINGS, "--out_dir", "two", "--accumulation_steps", "2", "--max_steps", "8")
    two = command.run(*sharded, "--fsdp", launcher=launcher("torchrun", 2))
    assert two.returncode == 0, two.stderr
    assert_same_checkpoint(
        command.directory / "two/checkpoints/step_000008.pth", command.directory / "one/checkpoints/step_000008.pth"
    )
    assert (command.directory / "two/best/model.safetensors").is_file()
    rest = command.call(*SETTINGS, "--out_dir", "two", "--accumulation_steps", "4", "--resume")
    assert rest.returncode == 0, rest.stderr
    pairs = list(zip(command.rows("two"), command.rows("one"), strict=True))
    assert len(pairs) == 12
    for row, expected in pairs:
        # Step 8 was the last for a while, and validated as such; `progress` was the share of 8 steps.
        assert "val_loss_ema" in row or "val_loss_ema" not in expected
        for key in (row.keys() & expected.keys()) - {"progress"}:
            value = expected[key]
            np.testing.assert_allclose(row[key], value, rtol=0, atol=1e-3, err_msg=f"step {row['step']}: {key}")


@pytest.mark.slow
def test_a_run_of_one_process_continues_sharded(command: Any, launcher: Callable[..., list[str]]) -> None:
    """With Muon, whose matrices are split, and activations that are computed again."""
    whole = command.call(*SETTINGS, *MUON, "--out_dir", "whole", "--accumulation_steps", "2")
    part = command.call(*SETTINGS, *MUON, "--out_dir", "part", "--accumulation_steps", "2", "--max_steps", "8")
    assert (whole.returncode, part.returncode) == (0, 0), part.stderr
    arguments = (
        *SETTINGS,
        *MUON,
        "--activation_checkpointing",
        "true",
        "--out_dir",
        "part",
        "--resume",
        "--fsdp",
        "--accumulation_steps",
        "1",
    )
    rest = command.run(*arguments, launcher=launcher("torchrun", 2))
    assert rest.returncode == 0, rest.stderr
    after = [row for row in command.rows("part") if row["step"] > 8]
    expected = [row for row in command.rows("whole") if row["step"] > 8]
    # Muon computes in bfloat16, which makes rounding larger.
    np.testing.assert_allclose([row["loss"] for row in after], [row["loss"] for row in expected], rtol=0, atol=5e-3)


def test_fsdp_alone_trains_in_one_process(command: Any) -> None:
    done = command.call("--fsdp", "--max_steps", "2")
    assert done.returncode == 0 and "nobody to share the model with" in done.stdout
