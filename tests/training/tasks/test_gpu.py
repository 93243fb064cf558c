"""Tasks on CUDA: flash attention in both directions, with and without windows, and of conversations; compiled too."""

from __future__ import annotations

import pytest

from tests.training.conftest import Command

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("architecture", ["bert", "modernbert"])
def test_masked_tokens_agree_with_the_cpu(encoder: Command, architecture: str) -> None:
    losses = {}
    for name, more in {
        "cpu": ("--device", "cpu"),
        "gpu": ("--device", "cuda"),
        "compiled": ("--device", "cuda", "--compile", "true"),
    }.items():
        done = encoder.run("--architecture", architecture, "--dtype", "bfloat16", *more, "--out_dir", name)
        assert done.returncode == 0, done.stderr
        losses[name] = [row["loss"] for row in encoder.rows(name)]
    assert losses["gpu"] == pytest.approx(losses["cpu"], abs=5e-2)
    assert losses["compiled"] == pytest.approx(losses["cpu"], abs=5e-2)


def test_answers_agree_with_the_cpu(chat: Command) -> None:
    losses = {}
    for name, more in {"cpu": ("cpu",), "gpu": ("cuda",), "compiled": ("cuda", "--compile", "true")}.items():
        done = chat.run("--dtype", "bfloat16", "--out_dir", name, "--device", *more)
        assert done.returncode == 0, done.stderr
        losses[name] = [row["loss"] for row in chat.rows(name)]
    assert losses["gpu"] == pytest.approx(losses["cpu"], abs=5e-2)
    assert losses["compiled"] == pytest.approx(losses["cpu"], abs=5e-2)


def test_a_run_on_a_gpu_resumes_exactly(encoder: Command) -> None:
    options = ("--device", "cuda", "--dtype", "bfloat16", "--lr_scheduler", "constant", "--use_ema", "true")
    assert encoder.run(*options, "--out_dir", "whole").returncode == 0
    assert encoder.run(*options, "--max_steps", "8").returncode == 0
    assert encoder.run(*options, "--resume").returncode == 0
    losses = [[row["loss"] for row in encoder.rows(out)] for out in ("whole", "out")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)  # sums of embeddings' gradients have no fixed order there
