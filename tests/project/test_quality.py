"""`benchmarks.quality`: an interrupted run ends in the numbers of an uninterrupted one, and the table reads them."""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import quality, quality_models, quality_table
from foundation.errors import UserError
from shards.documents import RECORD
from shards.manifest import Manifest
from shards.packing import IGNORE
from shards.writer import SplitWriter

VOCABULARY = 61
STEP_TOKENS = 3 * quality_models.SEQUENCE


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LAYERS": 1, "HEADS": 2, "WIDTH": 12}.items():
        monkeypatch.setattr(quality_models, name, value)
    for name, value in {"ROWS": 3, "SAVE_STEPS": 1, "POINT_TOKENS": 2 * STEP_TOKENS, "WARMUP_STEPS": 2}.items():
        monkeypatch.setattr(quality, name, value)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    generator = np.random.default_rng(3)
    splits = {}
    for split, count in {"train": 9, "val": 5}.items():
        writer = SplitWriter(tmp_path / "data" / split, np.dtype("uint16"), 10**6)
        lengths = generator.integers(200, 900, count).astype(np.int32)
        tokens = generator.integers(0, VOCABULARY, int(lengths.sum())).astype(np.uint16)
        writer.append(tokens, lengths, np.zeros(count, RECORD), text_bytes=lengths)
        splits[split] = writer.finish()
    Manifest(
        dtype="uint16",
        vocab_size=VOCABULARY,
        roles={},
        terminator=[0],
        tokenizer_fingerprint="0" * 64,
        pipeline_fingerprint="0" * 64,
        settings={},
        versions={},
        block_bytes=1,
        inputs=[],
        splits=splits,
    ).save(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def nanogpt(tmp_path: Path) -> Path:
    """A stand-in with the interface of nanoGPT's model.py."""
    (tmp_path / "model.py").write_text(
        "from dataclasses import dataclass\nimport torch\nfrom torch import nn\n"
        "@dataclass\nclass GPTConfig:\n"
        "    n_layer: int\n    n_head: int\n    n_embd: int\n    block_size: int\n    vocab_size: int\n"
        "    dropout: float = 0.1\n    bias: bool = True\n"
        "class GPT(nn.Module):\n"
        "    def __init__(self, config):\n        super().__init__()\n"
        "        self.wte = nn.Embedding(config.vocab_size, config.n_embd)\n"
        "        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=config.bias)\n"
        "    def forward(self, tokens, targets):\n        logits = self.head(self.wte(tokens))\n"
        "        return logits, nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)\n"
    )
    return tmp_path


def _train(dataset: Path, directory: Path, *words: str) -> dict[str, Any]:
    arguments = ["--data", str(dataset), "--directory", str(directory), "--tokens", str(5 * STEP_TOKENS), *words]
    quality.main(arguments)
    (path,) = directory.glob("*.json")
    result: dict[str, Any] = json.loads(path.read_text())
    for point in result["curve"]:
        assert point.pop("seconds") > 0 and point.pop("cpu_seconds") > 0
    return result


@pytest.mark.parametrize("model", ["ours", "nanogpt"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_killed_run_ends_in_the_same_numbers(
    dataset: Path, nanogpt: Path, tmp_path: Path, model: str, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--model", model, "--optimizer", optimizer, "--nanogpt", str(nanogpt), "--learning_rate", "0.01")
    whole = _train(dataset, tmp_path / "whole", *words)
    assert [point["tokens"] for point in whole["curve"]] == [2 * STEP_TOKENS, 4 * STEP_TOKENS, 5 * STEP_TOKENS]
    assert whole["finished"] and not list((tmp_path / "whole").glob("*.state"))

    save = quality.Run.save

    def save_and_die(run: quality.Run) -> None:
        save(run)
        if run.progress.step == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(quality.Run, "save", save_and_die)
        _train(dataset, tmp_path / "parts", *words)
    assert _train(dataset, tmp_path / "parts", *words) == whole
    with pytest.raises(UserError, match="finished"):
        _train(dataset, tmp_path / "parts", *words)


def test_state_of_another_run_is_refused(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(run: quality.Run) -> float:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(quality.Run, "evaluate", die)
        _train(dataset, tmp_path / "out")
    with pytest.raises(UserError, match="another run"):
        quality.main(["--data", str(dataset), "--directory", str(tmp_path / "out"), "--tokens", "9k"])


def test_validation_counts_every_token_once(dataset: Path, tmp_path: Path) -> None:
    settings = quality.Settings("ours", "adamw", 0.01, 0, 1, "")
    arguments = argparse.Namespace(data=dataset, directory=tmp_path, nanogpt=None, device="cpu", compile=False)
    run = quality.Run(settings, arguments)
    stream = torch.from_numpy(np.concatenate([s.tokens.astype(np.int64) for s in run.validation.shards]))
    nats = []
    for start in range(0, len(stream) - 1, quality_models.SEQUENCE):
        piece = stream[start : start + quality_models.SEQUENCE + 1]
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            logits = run.model(piece[None, :-1])[0].float()
        nats.append(torch.nn.functional.cross_entropy(logits, piece[1:], reduction="none"))
    expected = torch.cat(nats)
    assert len(expected) == len(stream) - 1
    assert run.evaluate() == pytest.approx(expected.mean().item(), rel=1e-4)


def test_nanogpt_is_asked_for_the_same_sum(nanogpt: Path) -> None:
    model = quality_models.NanoGPT(nanogpt, VOCABULARY)
    tokens = torch.arange(14).view(2, 7)
    targets = (tokens + 1).clone()
    targets[1, 3:] = IGNORE
    total, count = model(tokens, targets)
    gpt: Any = model.gpt
    logits = gpt.head(gpt.wte(tokens)).flatten(0, 1)
    assert int(count) == 10
    torch.testing.assert_close(total, torch.nn.functional.cross_entropy(logits, targets.flatten(), reduction="sum"))


def test_muon_gets_the_matrices_of_the_blocks_only() -> None:
    model = quality_models.build_model("ours", None, VOCABULARY)
    adamw, muon = quality_models.build_optimizers(model, "muon")
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    matrices = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    decayed, free = ({names[id(p)] for p in group["params"]} for group in adamw.param_groups)
    assert matrices == {name for name in names.values() if name.endswith("_proj.weight")} and len(matrices) == 7
    assert decayed == {"model.embed_tokens.weight"}
    assert free == {name for name in names.values() if "norm" in name}
    assert [group["weight_decay"] for group in adamw.param_groups] == [0.1, 0.0]


def test_schedule_is_that_of_torch() -> None:
    settings = quality.Settings("ours", "adamw", 0.03, 0, 13 * STEP_TOKENS, "")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.03)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10, eta_min=0.003)
    expected = [0.015, 0.03]
    for _ in range(11):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        cosine.step()
    assert [quality.learning_rate(step, settings) for step in range(settings.steps)] == pytest.approx(expected)


def test_table_has_means_and_spread(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def write(model: str, seed: int, loss: float, finished: bool = True) -> None:
        settings = {"model": model, "optimizer": "adamw", "learning_rate": 0.002, "seed": seed}
        curve = [{"tokens": 500_100, "validation": 9.0}, {"tokens": 1_500_200, "validation": loss}]
        # A point that only this run has is not drawn.
        curve[1:1] = [{"tokens": 1_000_000, "validation": 5.0}] * (seed == 1)
        text = json.dumps({"settings": settings, "finished": finished, "curve": curve})
        (tmp_path / f"{model}{seed}.json").write_text(text)

    losses = [4.5, 4.75, 4.125]
    for seed, loss in enumerate(losses):
        write("ours", seed, loss)
    write("nanogpt", 0, 5.5)
    write("nanogpt", 1, 1.0, finished=False)
    quality_table.show(tmp_path)
    table, runs, picture = capsys.readouterr().out.strip().split("\n\n")
    _, _, nanogpt, ours = table.splitlines()
    assert nanogpt == "| nanogpt | adamw | 0.002 | 1 | 5.5000 | - | 5.5000 | 5.5000 |"
    mean, deviation = statistics.mean(losses), statistics.stdev(losses)
    assert ours == f"| ours | adamw | 0.002 | 3 | {mean:.4f} | {deviation:.4f} | 4.1250 | 4.7500 |"
    assert runs.splitlines()[0] == "| model | optimizer | rate | seed | 0.5 M | 1.0 M | 1.5 M |"
    assert runs.splitlines()[3:5] == [
        "| ours | adamw | 0.002 | 0 | 9.0000 | - | 4.5000 |", "| ours | adamw | 0.002 | 1 | 9.0000 | 5.0000 | 4.7500 |"
    ]  # fmt: skip
    drawn = Path(picture).read_text()
    assert drawn.count("ours, adamw at 0.002") >= 1 and "<title>Validation loss over tokens</title>" in drawn


def test_table_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no finished runs"):
        quality_table.show(tmp_path)
