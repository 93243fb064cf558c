"""Task mlm as a run: its losses are those of `transformers` on every text by itself, and it goes on exactly."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import BertForMaskedLM, ModernBertForMaskedLM

from foundation.errors import UserError
from model.checkpoint_file import read_checkpoint
from model.encoder.heads import Heads
from shards.dataset import Dataset
from shards.manifest import Manifest
from tests.training.conftest import Command
from tests.training.test_resume import assert_goes_on, assert_survives_kills
from tokenization.tokenizer import Tokenizer
from training.batching.batches import IGNORED
from training.batching.datasets import TrainingData
from training.config import DataConfig, TrainingConfig
from training.saving.resume import Identity, check_resume, differences
from training.tasks.mlm import MlmTask

LENGTH = 29
EVERYTHING = ("--accumulation_steps", "2", "--use_ema", "true", "--dropout", "0.1", "--eval_interval", "3")
PARALLEL = ("--batch_size", "5", "--use_ema", "true", "--lr_scheduler", "constant", "--max_steps", "6")


def task_on(dataset: Path, tokenizer: Tokenizer) -> MlmTask:
    data = TrainingData((Dataset.open(dataset),), (None,), Dataset.open(dataset, "val"), tokenizer)
    return MlmTask(data, DataConfig(max_seq_len=LENGTH), TrainingConfig(task="mlm"))


@pytest.mark.parametrize("architecture", ["bert", "modernbert"])
def test_the_validation_loss_is_that_of_transformers_on_each_text_alone(
    encoder: Command, dataset: Path, tokenizer: Tokenizer, tmp_path: Path, architecture: str
) -> None:
    done = encoder.call("--architecture", architecture, "--max_steps", "3", "--intermediate_size", "40")
    assert done.returncode == 0, done.stderr
    kind = {"bert": BertForMaskedLM, "modernbert": ModernBertForMaskedLM}[architecture]
    reference = kind.from_pretrained(tmp_path / "out" / "final", attn_implementation="sdpa").eval()
    task = task_on(dataset, tokenizer)
    rows = task.rows(Dataset.open(dataset, "val"), tmp_path)
    batch = rows.batch(0, len(rows))
    tensors = task.microbatch(batch, np.arange(len(rows)), validating=True).tensors
    wanted = torch.full((tensors["inputs"].numel(),), IGNORED)
    used = tensors["mlm_targets"] != IGNORED
    wanted[tensors["mlm_places"][used]] = tensors["mlm_targets"][used]
    total, pieces = 0.0, batch.pieces.tolist()
    for start, stop in itertools.pairwise(pieces):
        with torch.no_grad():
            logits = reference(tensors["inputs"].flatten()[None, start:stop]).logits[0]
        total += float(cross_entropy(logits, wanted[start:stop], ignore_index=IGNORED, reduction="sum"))
    assert encoder.rows()[-1]["val_loss"] == pytest.approx(total / int(used.sum()), rel=1e-5)
    saved = json.loads((tmp_path / "out" / "final" / "config.json").read_text())
    assert saved["mateconv"]["objective"] == "mlm" and saved["mateconv"]["sequence_length"] == LENGTH


def test_shapes_are_the_same_in_every_batch_and_tokens_are_those_that_are_no_padding(
    dataset: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    task = task_on(dataset, tokenizer)
    samples = task.samples(Dataset.open(dataset), tmp_path)
    shapes, tokens, predicted = set(), 0, 0
    for first in range(0, samples.samples_per_epoch - 4, 4):
        batch = samples.batch(np.arange(first, first + 4))
        micro = task.microbatch(batch, np.arange(first, first + 4))
        shapes.add(tuple((name, tensor.shape, tensor.dtype) for name, tensor in micro.tensors.items()))
        assert micro.predicted == (int((micro.tensors["mlm_targets"] != IGNORED).sum()),)
        pad = tokenizer.roles.pad
        assert micro.tokens == sum(row.count(pad) * -1 + LENGTH for row in batch.inputs.tolist())
        tokens, predicted = tokens + micro.tokens, predicted + micro.predicted[0]
    assert len(shapes) == 1
    assert 0.1 < predicted / tokens < 0.15  # frames are tokens, too, and never masked


def test_broken_off_at_random_steps_and_resumed_it_is_the_same_run(
    encoder: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accumulation, EMA, dropout, whole words; across the border of an epoch."""
    arguments = (*EVERYTHING, "--whole_word_mask", "true", "--max_steps", "14", "--batch_size", "6")
    assert_goes_on(encoder, monkeypatch, sorted(random.Random(5).sample(range(2, 13), 2)), arguments)


@pytest.mark.slow
def test_killed_and_resumed_it_is_the_same_run(encoder: Command) -> None:
    """SIGKILL after the weights of step 7 have moved."""
    arguments = (*EVERYTHING, "--max_steps", "10")
    assert_survives_kills(encoder, (7,), arguments)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["bert", "modernbert"])
def test_killed_again_and_again_and_resumed_it_is_the_same_run(encoder: Command, architecture: str) -> None:
    """Six SIGKILLs at random steps, in bfloat16 where the machine computes in it."""
    arguments = (*EVERYTHING, "--max_steps", "40", "--dtype", "bfloat16", "--architecture", architecture)
    assert_survives_kills(encoder, sorted(random.Random(architecture).sample(range(2, 40), 6)), arguments)


@pytest.mark.slow
def test_two_sharded_processes_equal_one(encoder: Command, launcher: Callable[..., list[str]]) -> None:
    """The head of masked tokens lies outside the blocks, and its matrix is the embedding: both are gathered for it."""
    assert encoder.call(*PARALLEL, "--out_dir", "one", "--accumulation_steps", "2").returncode == 0
    two = encoder.run(*PARALLEL, "--fsdp", "--out_dir", "two", launcher=launcher("torchrun", 2))
    assert two.returncode == 0, two.stderr
    assert_close(encoder, "one", "two")


@pytest.mark.slow
def test_two_processes_equal_one(encoder: Command, launcher: Callable[..., list[str]]) -> None:
    assert encoder.call(*PARALLEL, "--out_dir", "one", "--accumulation_steps", "2").returncode == 0
    two = encoder.run(*PARALLEL, "--ddp", "--out_dir", "two", launcher=launcher("torchrun", 2))
    assert two.returncode == 0, two.stderr
    assert_close(encoder, "one", "two")


def assert_close(command: Command, one: str, other: str) -> None:
    """Rows and weights of two runs are equal up to rounding; the samples and masks are the same."""
    for row, expected in zip(command.rows(other), command.rows(one), strict=True):
        assert row.keys() == expected.keys() and row["tokens"] == expected["tokens"]
        np.testing.assert_allclose([row[key] for key in row], [expected[key] for key in row], rtol=0, atol=1e-3)
    ours, theirs = (read_checkpoint(command.directory / name / "ckpt.pth")["model"] for name in (other, one))
    for name, weight in theirs.items():
        if name.endswith("key.bias"):  # softmax takes no notice of it: its gradient is rounding alone
            continue
        assert float((ours[name] - weight).norm()) <= 1e-3 * float(weight.norm()) + 1e-6, name


def test_another_task_is_another_run(encoder: Command) -> None:
    assert encoder.call("--max_steps", "2").returncode == 0
    refused = encoder.call("--task", "causal", "--resume")
    assert refused.returncode == 2 and "task: mlm in the checkpoint, causal now" in refused.stderr
    refused = encoder.call("--mlm_probability", "0.3", "--resume")
    assert refused.returncode == 2 and "--allow_change mlm_probability" in refused.stderr


def test_a_tokenizer_without_the_roles_is_named_before_any_work(
    encoder: Command, make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    path = make_dataset("bare", [np.arange(7, 60), np.arange(9, 80)])
    settings = json.loads((path / "tokenizer" / "tokenizer_config.json").read_text())
    definition = json.loads((path / "tokenizer" / "tokenizer.json").read_text())
    for token in definition["added_tokens"]:
        if token["content"] == "<|mask|>":
            token["content"] = "<|other|>"
    definition["model"]["vocab"] = {
        ("<|other|>" if word == "<|mask|>" else word): number for word, number in definition["model"]["vocab"].items()
    }
    settings.pop("mask_token")
    (path / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(settings))
    (path / "tokenizer" / "tokenizer.json").write_text(json.dumps(definition))
    manifest: Any = Manifest.load(path)
    changed = manifest.model_copy(update={"tokenizer_fingerprint": Tokenizer.load(path / "tokenizer").fingerprint})
    changed.save(path)
    refused = encoder.call("--train_data_path", str(path))
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert "task mlm needs a token for the role 'mask'" in refused.stderr
    assert not (tmp_path / "out" / "metrics.jsonl").exists()


def test_other_labels_are_another_run() -> None:
    """Also where a dataset may be another: the same number of classes in another order would fit the weights."""
    config = {"training": {"task": "classify"}}
    saved = {"config": config, "state": {}, "dataset": "a", "tokenizer": "t", "vocab_size": 7, "global_batch": 3}
    heads = [Heads(labels=names).plain() for names in (("neg", "pos"), ("pos", "neg"))]
    now = [Identity(config, 7, "b", "t", 3, heads=one) for one in heads]
    assert differences({**saved, "heads": heads[0]}, now[0]).keys() == {"dataset"}
    assert differences({**saved, "heads": heads[0]}, now[1])["heads"] == ("labels neg pos", "labels pos neg")
    with pytest.raises(UserError, match="heads: labels neg pos in the checkpoint, labels pos neg now"):
        check_resume({**saved, "heads": heads[0]}, Path("x"), now[1], ("dataset",))
