"""Which samples a step takes, and the validation loss against a plain sum over the tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from foundation.errors import UserError
from shards.dataset import Dataset
from shards.packing import PackedSamples
from training.batching.batches import IGNORED, BatchPlan, BatchStream
from training.devices.distributed import World
from training.devices.precision import Precision
from training.evaluation.evaluator import Evaluator
from training.step import LossModule

LENGTH = 17


@pytest.mark.parametrize(("ranks", "accumulation"), [(1, 6), (2, 3), (3, 2), (6, 1)])
def test_a_step_takes_the_same_samples_however_it_is_split(ranks: int, accumulation: int) -> None:
    plans = [BatchPlan(5, accumulation, ranks, rank) for rank in range(ranks)]
    numbers = [plan.sample_numbers(90, micro) for micro in range(accumulation) for plan in plans]
    assert np.concatenate(numbers).tolist() == list(range(90, 120))
    assert plans[0].global_batch == 30


def stream(dataset: Path, first: int, steps: int, vocab_size: int) -> BatchStream:
    samples = PackedSamples(Dataset.open(dataset), LENGTH, seed=3)
    return BatchStream(samples, BatchPlan(3, 2), first, steps, vocab_size=vocab_size, where="here", ahead=2, pin=False)


def test_a_stream_that_starts_later_gives_the_same_batches(dataset: Path) -> None:
    """Across the border of an epoch, too: the tiny dataset has about 160 samples."""
    with stream(dataset, 0, 40, 280) as whole, stream(dataset, 150, 15, 280) as tail:
        expected = list(whole)[25:]
        for ours, theirs in zip(tail, expected, strict=True):
            for one, other in zip(ours, theirs, strict=True):
                assert one.predicted == 3 * LENGTH
                assert torch.equal(one.inputs, other.inputs) and torch.equal(one.targets, other.targets)


def test_a_token_outside_the_vocabulary_reaches_the_loop_as_an_error(dataset: Path) -> None:
    with stream(dataset, 0, 10, 100) as batches, pytest.raises(UserError, match=r"here: token id \d+ is outside"):
        list(batches)


def test_leaving_early_ends_the_thread(dataset: Path) -> None:
    with stream(dataset, 0, 10_000, 280) as batches:
        next(iter(batches))
    assert not batches._thread.is_alive()


class Bigram(nn.Module):
    """Scores the next token from this one alone, so that rows do not matter."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocab_size, vocab_size)

    def loss(self, tokens: Tensor, targets: Tensor, segments: Tensor | None) -> tuple[Tensor, Tensor]:
        logits = self.table(tokens).flatten(0, 1)
        total = nn.functional.cross_entropy(logits, targets.flatten(), ignore_index=IGNORED, reduction="sum")
        return total, (targets != IGNORED).sum()


def test_validation_counts_every_token_but_the_first_once(dataset: Path) -> None:
    torch.manual_seed(1)
    model = Bigram(280)
    opened = Dataset.open(dataset, "val")
    tokens = np.concatenate([opened.document(number) for number in range(opened.documents)]).astype(np.int64)
    scores = model.table.weight.detach().double().log_softmax(-1).numpy()
    expected = -scores[tokens[:-1], tokens[1:]].mean()
    evaluator = Evaluator(opened, LENGTH, 4, 280, World(), Precision(torch.device("cpu"), torch.float32), True)
    value = evaluator.run(LossModule(model), lambda: False)
    assert value == pytest.approx(expected, rel=1e-6)
    assert model.training
    assert evaluator.run(LossModule(model), lambda: True) is None
