"""Samples at each validation: they are what generation says, they change nothing, and a failure costs only them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from foundation.errors import UserError
from foundation.streams import derive_seed
from generation import samples as generation_samples
from generation.config import GenerationConfig
from generation.text import TextGenerator
from training.saving.run_directory import RunDirectory

PROMPTS = ["--sample_prompts", "the cat", "", "--sample_tokens", "7"]


def sampled(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]


def test_they_are_made_at_every_validation_and_shown(command: Any) -> None:
    done = command.call(*PROMPTS)
    assert done.returncode == 0, done.stderr
    found = sampled(command.directory / "out")
    assert [(row["step"], row["prompt"]) for row in found] == [
        (step, prompt) for step in (5, 10, 12) for prompt in ("the cat", "")
    ]
    assert done.stdout.count("sample: ") == 6 and "the cat → " in done.stdout


def test_the_last_are_what_the_final_model_says(command: Any) -> None:
    assert command.call(*PROMPTS).returncode == 0
    generator = TextGenerator.from_path(command.directory / "out" / "final", "cpu", "float32")
    seeds = [derive_seed(0, "sample", place) for place in range(2)]
    expected = generator.batch_generate(["the cat", ""], GenerationConfig(max_new_tokens=7), seeds=seeds)
    assert [row["text"] for row in sampled(command.directory / "out")[-2:]] == expected


def test_a_run_with_samples_is_the_run_without(command: Any) -> None:
    assert command.call("--out_dir", "with", *PROMPTS, "--dropout", "0.1").returncode == 0
    assert command.call("--out_dir", "without", "--dropout", "0.1").returncode == 0
    assert command.rows("with") == command.rows("without")
    weights = [(command.directory / out / "final" / "model.safetensors").read_bytes() for out in ("with", "without")]
    assert weights[0] == weights[1]
    assert not (command.directory / "without" / "samples.jsonl").exists()


@pytest.mark.parametrize("split", [True, False])
def test_with_an_average_the_samples_are_its(command: Any, make_dataset: Any, split: bool) -> None:
    data = [] if split else ["--train_data_path", str(make_dataset("unsplit", [np.append(np.arange(7, 40), 0)] * 11))]
    assert command.call(*PROMPTS, "--use_ema", "true", *data).returncode == 0
    generator = TextGenerator.from_path(command.directory / "out" / "final", "cpu", "float32")
    seeds = [derive_seed(0, "sample", place) for place in range(2)]
    expected = generator.batch_generate(["the cat", ""], GenerationConfig(max_new_tokens=7), seeds=seeds)
    assert [row["text"] for row in sampled(command.directory / "out")[-2:]] == expected  # final/ holds the average


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UserError("out of memory, say\nat great length"), "(out of memory, say)"),
        (RuntimeError(""), "(RuntimeError)"),
        (MemoryError(), "(MemoryError)"),
        (KeyError("role"), "(KeyError: 'role')"),
        (OSError(28, "No space left on device"), "No space left"),
    ],
)
def test_what_goes_wrong_is_said_once_and_the_run_goes_on(
    command: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def broken(*_: object, **__: object) -> list[str]:
        raise error

    monkeypatch.setattr(generation_samples, "write_samples", broken)
    done = command.call(*PROMPTS)
    assert done.returncode == 0
    assert done.stderr.count("samples could not be written") == done.stderr.count(said) == 1
    assert [row["step"] for row in command.rows()] == list(range(1, 13))


def test_without_data_to_validate_on_they_are_made_all_the_same(command: Any, make_dataset: Any) -> None:
    documents = [np.append(np.arange(7, 40), 0) for _ in range(11)]
    path = str(make_dataset("unsplit", documents))
    assert command.call(*PROMPTS, "--train_data_path", path).returncode == 0
    assert [row["step"] for row in sampled(command.directory / "out")] == [5, 5, 10, 10, 12, 12]


def test_a_resume_cuts_metrics_samples_and_spikes_back(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    files = (directory.metrics, directory.samples, directory.spikes)
    for file in files:
        lines = [f'{{"step": {step}, "text": "one\u2028line"}}\n' for step in (1, 2, 3)]
        file.write_text("".join(lines) + '{"step": 4')
    directory.cut_back(2, pending=True)
    assert [file.read_text().count("\n") for file in files] == [1, 1, 2]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_compiled_run_on_a_gpu_writes_samples_and_goes_on(command: Any) -> None:
    base = ["--device", "cuda", "--dtype", "bfloat16", "--compile", "true", "--peak_tflops", "0.1"]
    assert command.call("--out_dir", "with", *PROMPTS, *base).returncode == 0
    assert command.call("--out_dir", "without", *base).returncode == 0
    assert len(sampled(command.directory / "with")) == 6
    losses = [[row["loss"] for row in command.rows(out)] for out in ("with", "without")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)  # CUDA may add in another order
    row = json.loads((command.directory / "with" / "metrics.jsonl").read_text().splitlines()[-1])
    assert row["mfu"] > 0
