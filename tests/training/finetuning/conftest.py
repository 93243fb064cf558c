"""A labelled dataset whose classes anybody can tell apart, and encoders to start from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shards.documents import RECORD
from shards.manifest import InputEntry, Manifest, RoleEntry, SplitEntry
from shards.writer import SplitWriter
from tests.training.conftest import Command
from tokenization.tokenizer import Tokenizer
from tokenization.train import train_tokenizer

NAMES = ["bad", "fair", "good"]
TINY_ENCODER = [
    "--hidden_size", "16", "--num_hidden_layers", "2", "--num_attention_heads", "2", "--intermediate_size", "24",
    "--max_position_embeddings", "32",
]  # fmt: skip
RUN = [
    "--max_seq_len", "19", "--batch_size", "3", "--max_steps", "12", "--learning_rate", "0.01", "--warmup_steps", "2",
    "--log_interval", "1", "--eval_interval", "4", "--save_interval", "4", "--device", "cpu", "--dtype", "float32",
    "--compile", "false", "--report", "false", "--sample_tokens", "0", "--preflight", "false",
]  # fmt: skip
SIZES = {"train": 61, "val": 23, "test": 29}


@pytest.fixture(scope="session")
def words() -> Tokenizer:
    """A WordPiece tokenizer with the roles of BERT."""
    text = "a bad film , a fair film and a good film with an end that nobody saw coming , not even the cat on the mat ."
    return train_tokenizer("wordpiece", [text] * 20, 90)


def labelled(seed: int, count: int, classes: int, size: int) -> tuple[list[np.ndarray], list[int]]:
    """Documents of random tokens, 70% of which are their class's own; the first has no label, the second no text."""
    chance = np.random.default_rng(seed)
    documents, labels = [], []
    for number in range(count):
        label = number % classes
        tokens = chance.integers(20, size, chance.integers(4, 30))
        tokens[chance.random(len(tokens)) < 0.7] = 10 + label
        documents.append(tokens)
        labels.append(label)
    documents[1:2] = [document[:0] for document in documents[1:2]]
    return documents, [-1, *labels[1:]]


def write_labelled(directory: Path, documents: list[np.ndarray], labels: list[int]) -> SplitEntry:
    writer = SplitWriter(directory, np.dtype("uint16"), shard_tokens=300)
    for document, label in zip(documents, labels, strict=True):
        record = np.zeros(1, RECORD)
        record["label"] = label
        length = np.array([len(document)], np.int32)
        writer.append(document.astype("uint16"), length, record, text_bytes=length)
    return writer.finish()


@pytest.fixture(scope="session")
def make_labelled(words: Tokenizer) -> Callable[..., Path]:
    """`make_labelled(path, sizes, names)`: a dataset of so many documents in each split, its classes called `names`."""

    def make(path: Path, sizes: dict[str, int], names: list[str]) -> Path:
        words.save(path / "tokenizer")
        splits = {
            split: write_labelled(path / split, *labelled(seed, count, len(names), words.vocab_size))
            for seed, (split, count) in enumerate(sizes.items())
        }
        Manifest(
            dtype="uint16",
            vocab_size=words.vocab_size,
            roles={role: RoleEntry(token=str(words.id_to_token(i)), id=i) for role, i in words.roles.present().items()},
            terminator=[],
            tokenizer_fingerprint=words.fingerprint,
            pipeline_fingerprint="0" * 64,
            settings={},
            versions={},
            block_bytes=1,
            inputs=[InputEntry(name="a.jsonl", bytes=1, fingerprint="f" * 64, options={"labels": names})],
            splits=splits,
        ).save(path)
        return path

    return make


@pytest.fixture(scope="session")
def labelled_dataset(tmp_path_factory: pytest.TempPathFactory, make_labelled: Callable[..., Path]) -> Path:
    """Three classes, splits train, val and test."""
    return make_labelled(tmp_path_factory.mktemp("data") / "reviews", SIZES, NAMES)


@pytest.fixture
def classify(tmp_path: Path, labelled_dataset: Path) -> Command:
    """`train.py --task classify` with a tiny BERT."""
    base = [*TINY_ENCODER, *RUN, "--train_data_path", str(labelled_dataset), "--task", "classify"]
    return Command(tmp_path, base)


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory, labelled_dataset: Path) -> Path:
    """The best/ of a short masked-language-model run."""
    directory = tmp_path_factory.mktemp("pretrained")
    base = [*TINY_ENCODER, *RUN, "--train_data_path", str(labelled_dataset), "--task", "mlm"]
    done = Command(directory, base).call("--max_steps", "4", "--out_dir", "out")
    assert done.returncode == 0, done.stderr
    return directory / "out" / "best"


@pytest.fixture
def tuned(tmp_path: Path, labelled_dataset: Path, pretrained: Path) -> Command:
    """`train.py --task classify --init_from` the pretrained model."""
    base = [*RUN, "--train_data_path", str(labelled_dataset), "--task", "classify", "--init_from", str(pretrained)]
    return Command(tmp_path, base)


def good(done: Any) -> Any:
    """A finished command; shows what it said where it failed."""
    assert done.returncode == 0, done.stderr
    return done
