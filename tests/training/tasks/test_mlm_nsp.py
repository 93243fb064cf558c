"""Task mlm_nsp as a run: its losses are those of `transformers` on every pair by itself, and it goes on exactly."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import BertForPreTraining

from shards.dataset import Dataset
from shards.documents import RECORD, SENTENCE
from shards.manifest import Manifest, SplitEntry
from shards.token_stream import IGNORE
from shards.writer import SplitWriter
from tests.training.conftest import Command, random_documents, write_dataset
from tests.training.tasks.conftest import TINY_ENCODER
from tests.training.tasks.test_mlm import PARALLEL, assert_close
from tests.training.test_resume import assert_goes_on, assert_survives_kills
from tokenization.tokenizer import Tokenizer
from training.batching.datasets import TrainingData
from training.config import DataConfig, TrainingConfig
from training.tasks.mlm_nsp import MlmNspTask

LENGTH = 29
EVERYTHING = ("--accumulation_steps", "2", "--use_ema", "true", "--dropout", "0.1", "--eval_interval", "3")


def with_sentences(directory: Path, documents: list[np.ndarray], seed: int) -> SplitEntry:
    """A split of these documents, cut into sentences of 1 to 12 tokens; some have one only."""
    generator = np.random.default_rng(seed)
    writer = SplitWriter(directory, np.dtype("uint16"), 500, ("sentences",))
    for number, document in enumerate(documents):
        ends = np.unique(np.append(np.cumsum(generator.integers(1, 13, 9)), len(document) - 1))
        ends = ends[ends < len(document)] if number % 10 else ends[:0]
        rows = np.array([(0, end) for end in ends], SENTENCE)
        record = np.zeros(1, RECORD)
        record["content_hash"] = np.array([number, seed], np.uint64).tobytes()
        length = np.array([len(document)], np.int32)
        writer.append(document.astype(np.uint16), length, record, np.array([len(document)]), {"sentences": rows})
    return writer.finish()


@pytest.fixture(scope="session")
def paired(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    """A dataset of 79 + 11 documents that says where sentences end."""
    path = tmp_path_factory.mktemp("paired") / "paired"
    write_dataset(path, tokenizer, [])
    size = tokenizer.vocab_size
    splits = {
        split: with_sentences(path / split, random_documents(seed, count, size), seed)
        for split, seed, count in (("train", 1, 79), ("val", 2, 11))
    }
    Manifest.load(path).model_copy(update={"splits": splits}).save(path)
    return path


@pytest.fixture
def pairs(tmp_path: Path, paired: Path) -> Command:
    """`--task mlm_nsp` on it, with out_dir `out` below `tmp_path`."""
    return Command(tmp_path, [*TINY_ENCODER, "--task", "mlm_nsp", "--train_data_path", str(paired)])


def task_on(path: Path, tokenizer: Tokenizer) -> MlmNspTask:
    data = TrainingData((Dataset.open(path),), (None,), Dataset.open(path, "val"), tokenizer)
    return MlmNspTask(data, DataConfig(max_seq_len=LENGTH), TrainingConfig(task="mlm_nsp"))


def test_the_validation_losses_are_those_of_transformers_on_each_pair_alone(
    pairs: Command, paired: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    done = pairs.call("--max_steps", "3")
    assert done.returncode == 0, done.stderr
    reference = BertForPreTraining.from_pretrained(tmp_path / "out" / "final").eval()
    task = task_on(paired, tokenizer)
    rows = task.rows(Dataset.open(paired, "val"), tmp_path)
    batch = rows.batch(0, len(rows))
    tensors = task.microbatch(batch, np.arange(len(rows)), validating=True).tensors
    masked = torch.full((tensors["inputs"].numel(),), IGNORE)
    masked[tensors["mlm_places"]] = tensors["mlm_targets"]  # those of unused slots are never masked
    assert batch.labels is not None
    totals, counts, right = np.zeros(2), np.zeros(2), 0
    for (start, stop), label in zip(pairwise(batch.pieces.tolist()), torch.from_numpy(batch.labels), strict=True):
        tokens, types = (tensors[name].flatten()[None, start:stop] for name in ("inputs", "token_types"))
        with torch.no_grad():
            found = reference(tokens, token_type_ids=types)
        mlm = cross_entropy(found.prediction_logits[0], masked[start:stop], reduction="sum")
        nsp = cross_entropy(found.seq_relationship_logits, label[None], reduction="sum")
        totals += [float(mlm), float(nsp)]
        right += int(found.seq_relationship_logits.argmax() == label)
        counts += [int((masked[start:stop] != IGNORE).sum()), int(label != IGNORE)]
    means = totals / counts
    row = pairs.rows()[-1]
    assert [row["val_mlm_loss"], row["val_nsp_loss"]] == pytest.approx(means.tolist(), rel=1e-5)
    assert row["val_loss"] == pytest.approx(means.sum(), rel=1e-5)
    assert row["val_nsp_accuracy"] == pytest.approx(right / counts[1]) and 0 < right < counts[1]
    assert row["loss"] == pytest.approx(row["mlm_loss"] + row["nsp_loss"])


def test_the_loss_is_counted_at_the_first_tokens_of_pairs(paired: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    task = task_on(paired, tokenizer)
    samples = task.samples(Dataset.open(paired), tmp_path)
    numbers = np.arange(samples.samples_per_epoch)
    batch = samples.batch(numbers)
    micro = task.microbatch(batch, numbers)
    assert batch.labels is not None and batch.token_types is not None
    places, targets = micro.tensors["nsp_places"], micro.tensors["nsp_targets"]
    assert len(places) == len(targets) and len(places) & (len(places) - 1) == 0
    pairs = int((targets != IGNORE).sum())
    assert micro.predicted == (int((micro.tensors["mlm_targets"] != IGNORE).sum()), pairs) and pairs > 30
    assert set(micro.tensors["inputs"].flatten()[places[:pairs]].tolist()) == {tokenizer.roles.cls}
    second = np.add.reduceat(batch.token_types.ravel(), batch.pieces[:-1]) > 0
    np.testing.assert_array_equal(batch.pieces[:-1][second], places[:pairs].numpy())
    np.testing.assert_array_equal(batch.labels[second], targets[:pairs].numpy())
    assert micro.tokens == int(np.count_nonzero(batch.inputs != tokenizer.roles.pad))


@pytest.mark.parametrize("split", ["train", "val"])
def test_no_text_of_a_pair_is_from_another_split(
    paired: Path, tokenizer: Tokenizer, tmp_path: Path, split: str
) -> None:
    task, dataset = task_on(paired, tokenizer), Dataset.open(paired, split)
    texts = [dataset.document(number).astype(np.int64).tobytes() for number in range(dataset.documents)]
    if split == "val":
        batch = task.rows(dataset, tmp_path).batch(0, 10_000)
    else:
        batch = task.samples(dataset, tmp_path).batch(np.arange(400))
    found = 0
    for start, stop in pairwise(batch.pieces.tolist()):
        piece = batch.inputs.ravel()[start:stop]
        for text in np.split(piece, np.flatnonzero(np.isin(piece, [task.frame.cls, task.frame.sep]))):
            if len(text) > 1 and piece[0] == task.frame.cls:
                found += 1
                assert any(text[1:].tobytes() in document for document in texts)
    assert found > 20


def test_broken_off_and_resumed_it_is_the_same_run(pairs: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accumulation, EMA, dropout; across the border of an epoch."""
    arguments = (*EVERYTHING, "--max_steps", "11", "--batch_size", "6")
    assert assert_goes_on(pairs, monkeypatch, (7,), arguments) == [4]


@pytest.mark.slow
def test_killed_again_and_again_and_resumed_it_is_the_same_run(pairs: Command) -> None:
    """Six SIGKILLs at random steps, in bfloat16 where the machine computes in it."""
    arguments = (*EVERYTHING, "--max_steps", "40", "--dtype", "bfloat16")
    assert_survives_kills(pairs, sorted(random.Random(3).sample(range(2, 40), 6)), arguments)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["--ddp", "--fsdp"])
def test_two_processes_equal_one(pairs: Command, launcher: Callable[..., list[str]], strategy: str) -> None:
    """Each loss is divided by what it counts over both processes, which have different numbers of pairs."""
    assert pairs.call(*PARALLEL, "--out_dir", "one", "--accumulation_steps", "2").returncode == 0
    two = pairs.run(*PARALLEL, strategy, "--out_dir", "two", launcher=launcher("torchrun", 2))
    assert two.returncode == 0, two.stderr
    assert_close(pairs, "one", "two")


def test_what_it_cannot_train_is_named_before_any_work(pairs: Command, dataset: Path, tmp_path: Path) -> None:
    refused = pairs.call("--train_data_path", str(dataset))
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert f"{dataset}: sentence pairs need" in refused.stderr and "--sentence_borders true" in refused.stderr
    refused = pairs.call("--val_data_path", str(dataset))
    assert refused.returncode == 2 and f"{dataset}: sentence pairs need" in refused.stderr
    refused = pairs.call("--architecture", "modernbert")
    assert refused.returncode == 2 and "architecture modernbert: this task trains bert" in refused.stderr
    assert not (tmp_path / "out" / "metrics.jsonl").exists()
