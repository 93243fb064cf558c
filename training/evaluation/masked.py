"""What an encoder makes of a dataset: the loss of masked tokens, by the task that it was trained for."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from foundation.errors import UserError
from model.encoder.encoder import Encoder
from shards.dataset import Dataset
from tokenization.tokenizer import Tokenizer
from training.batching.datasets import TrainingData
from training.config import DataConfig, TrainingConfig
from training.devices.distributed import World
from training.devices.precision import Precision
from training.tasks.base import Task
from training.tasks.mlm import MlmTask
from training.tasks.mlm_nsp import MlmNspTask


def measure_masked(
    model: Encoder,
    tokenizer: Tokenizer,
    dataset: Dataset,
    *,
    length: int,
    batch_size: int,
    progress: Callable[[int, int], object],
) -> dict[str, float]:
    """The losses of the masked tokens (15% of them, the same in every evaluation), and of sentence pairs where the
    model and the dataset have them; nats. `progress` hears of rows done and all rows.

    `UserError` for a model without a head for masked tokens, and for a dataset of another tokenizer.
    """
    theirs = Tokenizer.load(dataset.tokenizer_path) if dataset.tokenizer_path is not None else None
    if theirs is None or not _same_tokens(theirs, tokenizer):
        raise UserError(
            f"{dataset.path}: an encoder is measured on a dataset of its own tokenizer; process the text with it "
            "(python -m pipeline.process --tokenizer MODEL …)"
        )
    task = _task(model, TrainingData((dataset,), (None,), dataset, theirs), length)
    device = model.device
    with tempfile.TemporaryDirectory() as work:
        evaluator = task.evaluator(dataset, Path(work), batch_size, World(), Precision(device, torch.float32))
        rows = len(evaluator)

        def count() -> bool:
            progress(batch_size, rows)
            return False

        values = evaluator.run(task.loss_module(model), interrupted=count)
    assert values is not None
    return {name.removeprefix("val_"): value for name, value in values.items()}


def _same_tokens(one: Tokenizer, other: Tokenizer) -> bool:
    """Whether ids mean the same tokens. The tokenizer beside an encoder also frames texts, so it is another file."""
    size = max(one.vocab_size, other.vocab_size)
    return all(one.id_to_token(number) == other.id_to_token(number) for number in range(size))


def _task(model: Encoder, data: TrainingData, length: int) -> Task:
    heads = model.heads
    if not heads.mlm:
        what = "is a classifier (val_metrics.json of its run has its figures)" if heads.labels else "has no head for it"
        raise UserError(f"the model does not guess masked tokens: it {what}; give a pretrained one")
    pairs = heads.nsp and all(shard.sentences is not None for shard in data.train.shards)
    config = DataConfig(train_data_path=(str(data.train.path),), max_seq_len=length)
    if pairs:
        return MlmNspTask(data, config, TrainingConfig(task="mlm_nsp"))
    return MlmTask(data, config, TrainingConfig(task="mlm"))
