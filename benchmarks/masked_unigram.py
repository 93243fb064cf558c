"""The loss of guessing masked tokens by their frequency alone: what a masked language model has to beat.

    python benchmarks/masked_unigram.py DATASET [--max_seq_len 256] [--mlm_probability 0.15] [--whole_word_mask]

The targets are those of a run's validations: the same rows, the same masks. Prints their mean negative log-likelihood
(nats) under the frequencies of the tokens in the training split, the entropy of those frequencies, and the entropy of
the targets' own, which no model that ignores the text can get below (few targets make it too low).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from foundation import cli
from foundation.errors import UserError
from shards.dataset import Dataset
from shards.token_stream import IGNORE
from training.batching.datasets import open_data
from training.config import DataConfig, TrainingConfig
from training.tasks.mlm import MlmTask

ROWS = 64


def token_counts(dataset: Dataset, vocab_size: int) -> npt.NDArray[np.int64]:
    """How often each token occurs (V,). Reads every token."""
    counts = np.zeros(vocab_size, np.int64)
    for shard in dataset.shards:
        for first in range(0, len(shard.tokens), 1 << 24):
            counts += np.bincount(shard.tokens[first : first + (1 << 24)], minlength=vocab_size)
    return counts


def validation_targets(task: MlmTask, validation: Dataset, directory: Path) -> npt.NDArray[np.int64]:
    """How often each token is a target of a validation (V,)."""
    counts = np.zeros(task.data.vocab_size, np.int64)
    rows = task.rows(validation, directory)
    for first in range(0, len(rows), ROWS):
        batch = rows.batch(first, ROWS)
        numbers = np.arange(first, first + len(batch.inputs), dtype=np.int64)
        targets = task.microbatch(batch, numbers, validating=True).tensors["mlm_targets"].numpy()
        counts += np.bincount(targets[targets != IGNORE], minlength=len(counts))
    return counts


def cross_entropy(of: npt.NDArray[np.int64], under: npt.NDArray[np.int64]) -> float:
    """Mean nats of tokens that occur as often as `of` (V,) says when their chances are as `under` (V,) counts."""
    present = of > 0
    return float(-(of[present] / of.sum() * np.log(under[present] / under.sum())).sum())


def main(argv: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--max_seq_len", type=int, default=256)
    parser.add_argument("--mlm_probability", type=float, default=0.15)
    parser.add_argument("--whole_word_mask", action="store_true")
    given = parser.parse_args(argv)
    data_config = DataConfig(train_data_path=(given.dataset,), max_seq_len=given.max_seq_len)
    training = TrainingConfig(task="mlm", mlm_probability=given.mlm_probability, whole_word_mask=given.whole_word_mask)
    data = open_data(data_config)
    if data.validation is None:
        raise UserError(f"{given.dataset}: no validation split to measure on")
    task = MlmTask(data, data_config, training)
    with tempfile.TemporaryDirectory() as directory:
        targets = validation_targets(task, data.validation, Path(directory))
    seen = token_counts(data.train, data.vocab_size) + 1  # a token that training never saw still has a chance
    seen[sorted(data.tokenizer.special_ids)] = 0
    print(f"{int(targets.sum()):,} masked tokens of {data.validation.tokens:,} in the validation split")
    print(f"under the training split's frequencies: {cross_entropy(targets, seen):.4f} nats")
    print(f"entropy of the training split:          {cross_entropy(seen, seen):.4f} nats")
    print(f"entropy of the targets themselves:      {cross_entropy(targets, targets):.4f} nats")
    return 0


if __name__ == "__main__":
    cli.run(main)
