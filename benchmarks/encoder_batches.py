"""Batches for the benchmark of encoders: texts packed as train.py does, or one a row, padded, as recipes usually do.

The texts are those of a dataset's training split. B rows, T tokens a row, K places for masked tokens in a row.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from shards.token_stream import IGNORE
from training.batching.batches import Microbatch
from training.batching.datasets import TrainingData, open_data
from training.config import DataConfig, TrainingConfig
from training.tasks.mlm import MlmTask

Tensors = dict[str, torch.Tensor]
SEED, GROUPED = 1, 50
"""`GROUPED` batches' worth of texts are sorted by length together, as transformers' LengthGroupedSampler does."""


@dataclass(frozen=True)
class Batch:
    """What a model is called with, how many of its tokens are no padding, and how many are masked."""

    tensors: Tensors
    real: int
    masked: int

    @property
    def places(self) -> int:
        """Tokens with padding."""
        first = next(iter(self.tensors.values()))
        return first.numel()

    @property
    def microbatch(self) -> Microbatch:
        """The same for the step of train.py."""
        return Microbatch(self.tensors, (self.masked,), self.real)


def open_task(dataset: Path, length: int) -> MlmTask:
    """The task `mlm` over a dataset, with the settings' own defaults."""
    config = DataConfig(train_data_path=(str(dataset),), max_seq_len=length)
    return MlmTask(open_data(config), config, TrainingConfig(task="mlm"))


def packed(task: MlmTask, rows: int, count: int) -> list[Batch]:
    """The first `count` batches that train.py would make."""
    with tempfile.TemporaryDirectory() as directory:
        samples = task.samples(task.data.train, Path(directory))
        made = []
        for first in range(0, rows * count, rows):
            numbers = np.arange(first, first + rows)
            one = task.microbatch(samples.batch(numbers), numbers)
            made.append(Batch(one.tensors, one.tokens, one.predicted[0]))
        return made


def padded(task: MlmTask, rows: int, count: int, grouped: bool) -> list[Batch]:
    """`count` batches of one text a row, cut to T tokens with its frame and padded to T; `grouped`: texts of similar
    length stand together, and are padded to the longest of their batch."""
    texts = _texts(task.data, task.length - 2)
    frame, random = task.frame, np.random.default_rng(SEED)
    order = random.permutation(len(texts))[: rows * max(count, GROUPED if grouped else 0)]
    if grouped:
        order = np.array(sorted(order, key=lambda number: -len(texts[number])))
    groups = order[: len(order) // rows * rows].reshape(-1, rows)
    groups = groups[random.permutation(len(groups))[:count]]
    return [_padded([texts[number] for number in group], task, frame.pad, None if grouped else task.length)
            for group in groups]  # fmt: skip


def _padded(texts: Sequence[np.ndarray], task: MlmTask, pad: int, length: int | None) -> Batch:
    """`input_ids`, `attention_mask` and `labels` (B, T) of texts, masked as `transformers`' collator masks them."""
    length = length or max(map(len, texts)) + 2
    ids = np.full((len(texts), length), pad, np.int64)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text) + 2] = [task.frame.cls, *text, task.frame.sep]
    found = task.masking.apply(ids, np.arange(len(texts)), SEED)
    labels = np.full(ids.size, IGNORE, np.int64)
    wanted = found.targets != IGNORE
    labels[found.places[wanted]] = found.targets[wanted]
    arrays = {"input_ids": found.inputs, "attention_mask": (ids != pad).astype(np.int64)}
    arrays["labels"] = labels.reshape(ids.shape)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return Batch(tensors, int(arrays["attention_mask"].sum()), found.predicted)


def _texts(data: TrainingData, most: int) -> list[np.ndarray]:
    """The first `most` tokens of each text."""
    train = data.train
    every = (train.document(number) for number in range(train.documents))
    return [text[: min(most, len(text) - train.terminator_length)] for text in every]
