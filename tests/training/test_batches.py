"""Which samples a step takes, and the validation loss against a plain sum over the tokens."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from foundation.errors import UserError
from model.config import ModelConfig
from model.decoder import Decoder
from shards.dataset import Dataset
from shards.packing import PackedSamples
from shards.packing_plan import open_plan
from shards.planned import PlannedSamples
from shards.samples import Samples
from tokenization.tokenizer import Tokenizer
from training.batching.batches import IGNORED, BatchPlan, BatchStream
from training.batching.datasets import TrainingData
from training.config import DataConfig, TrainingConfig
from training.devices.distributed import World
from training.devices.precision import Precision
from training.evaluation.evaluator import Evaluator
from training.tasks.causal import CausalLoss, CausalTask

LENGTH = 17


@pytest.mark.parametrize(("ranks", "accumulation"), [(1, 6), (2, 3), (3, 2), (6, 1)])
def test_a_step_takes_the_same_samples_however_it_is_split(ranks: int, accumulation: int) -> None:
    plans = [BatchPlan(5, accumulation, ranks, rank) for rank in range(ranks)]
    numbers = [plan.sample_numbers(90, micro) for micro in range(accumulation) for plan in plans]
    assert np.concatenate(numbers).tolist() == list(range(90, 120))
    assert plans[0].global_batch == 30


class Words(Tokenizer):
    """All that a task asks of a tokenizer."""

    def __init__(self, size: int) -> None:
        self._size = size

    @property
    def vocab_size(self) -> int:
        return self._size


def task(dataset: Dataset, vocab_size: int = 280, mask: bool = True) -> CausalTask:
    data = TrainingData((dataset,), (None,), None, Words(vocab_size))
    return CausalTask(data, DataConfig(max_seq_len=LENGTH, document_mask=mask), TrainingConfig())


def stream(dataset: Path, first: int, steps: int, vocab_size: int) -> BatchStream:
    opened = Dataset.open(dataset)
    make = task(opened, vocab_size).microbatch
    return BatchStream(PackedSamples(opened, LENGTH, seed=3), BatchPlan(3, 2), first, steps, make, ahead=2, pin=False)


def evaluator(dataset: Dataset, mask: bool) -> Evaluator:
    precision = Precision(torch.device("cpu"), torch.float32)
    return task(dataset, mask=mask).evaluator(dataset, Path("unused"), 4, World(), precision)


def test_a_stream_that_starts_later_gives_the_same_batches(dataset: Path) -> None:
    """Across the border of an epoch, too: the tiny dataset has about 160 samples."""
    with stream(dataset, 0, 40, 280) as whole, stream(dataset, 150, 15, 280) as tail:
        expected = list(whole)[25:]
        for ours, theirs in zip(tail, expected, strict=True):
            for one, other in zip(ours, theirs, strict=True):
                assert one.predicted == (3 * LENGTH,) and one.tokens == 3 * LENGTH
                assert list(one.tensors) == ["inputs", "targets", "segments"]
                assert all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)


def test_a_token_outside_the_vocabulary_reaches_the_loop_as_an_error(dataset: Path) -> None:
    with stream(dataset, 0, 10, 100) as batches, pytest.raises(UserError, match=r"tiny: token id \d+ is outside"):
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

    def loss(self, tokens: Tensor, targets: Tensor, segments: Tensor | None = None) -> tuple[Tensor, Tensor]:
        logits = self.table(tokens).flatten(0, 1)
        total = nn.functional.cross_entropy(logits, targets.flatten(), ignore_index=IGNORED, reduction="sum")
        return total, (targets != IGNORED).sum()


@pytest.mark.parametrize("packing", ["concat", "best_fit"])
def test_what_a_forward_pass_gets(dataset: Path, tmp_path: Path, packing: str) -> None:
    """The count is that of the targets; borders fill a power of two, so that compiled code sees few shapes."""
    opened = Dataset.open(dataset)
    samples: Samples = PackedSamples(opened, LENGTH, seed=3)
    if packing == "best_fit":
        samples = PlannedSamples(opened, open_plan(opened, LENGTH, [tmp_path], lambda share: None), seed=3)
    for first, size in ((0, 5), (7, 64)):
        packed = samples.batch(np.arange(first, first + size))
        micro = task(opened).microbatch(packed, np.arange(first, first + size))
        inputs, targets, segments = micro.to(torch.device("cpu")).values()
        assert packed.targets is not None
        assert inputs.tolist() == packed.inputs.tolist() and targets.tolist() == packed.targets.tolist()
        assert micro.predicted == (int((targets != IGNORED).sum()),) == (micro.tokens,)
        borders = len(packed.pieces)
        assert segments[:borders].tolist() == packed.pieces.tolist()
        assert (segments[borders:] == size * LENGTH).all()
        assert len(segments).bit_count() == 1 and (len(segments) < 2 * borders or len(segments) == 64)
    plain = PackedSamples(opened, LENGTH, 3, document_mask=False).batch(np.arange(2))
    assert list(task(opened, mask=False).microbatch(plain, np.arange(2)).tensors) == ["inputs", "targets"]


@pytest.mark.parametrize("mask", [True, False])
def test_validation_reads_each_document_as_if_it_stood_alone(dataset: Path, mask: bool) -> None:
    torch.manual_seed(2)
    shape = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    model = Decoder(ModelConfig(**shape, max_position_embeddings=LENGTH, initializer_range=0.4), 280)
    opened = Dataset.open(dataset, "val")
    documents = [opened.document(number).tolist() for number in range(opened.documents)]
    tokens = [token for document in documents for token in document]
    starts = set(np.cumsum([len(document) for document in documents]).tolist()) if mask else set()
    total = 0.0
    for row in range(0, len(tokens) - 1, LENGTH):
        end = min(row + LENGTH, len(tokens) - 1)
        # A document's first token is predicted from the terminator before it, with which its piece begins.
        borders = [row, *(place for place in range(row + 1, end) if place + 1 in starts), end]
        for begin, stop in itertools.pairwise(borders):
            piece = torch.tensor([tokens[begin : stop + 1]])
            with torch.no_grad():
                total += model.loss(piece[:, :-1], piece[:, 1:])[0].item()
    values = evaluator(opened, mask).run(CausalLoss(model), lambda: False)
    assert values is not None and list(values) == ["val_loss"]
    assert values["val_loss"] == pytest.approx(total / (len(tokens) - 1), rel=1e-5)


def test_validation_counts_every_token_but_the_first_once(dataset: Path) -> None:
    torch.manual_seed(1)
    model = Bigram(280)
    opened = Dataset.open(dataset, "val")
    tokens = np.concatenate([opened.document(number) for number in range(opened.documents)]).astype(np.int64)
    scores = model.table.weight.detach().double().log_softmax(-1).numpy()
    expected = -scores[tokens[:-1], tokens[1:]].mean()
    values = evaluator(opened, True).run(CausalLoss(model), lambda: False)
    assert values is not None and values["val_loss"] == pytest.approx(expected, rel=1e-6)
    assert model.training
    assert evaluator(opened, True).run(CausalLoss(model), lambda: True) is None


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (BatchPlan(8, 3), BatchPlan(4, 6)),
        (BatchPlan(3, 1), BatchPlan(1, 3)),
        (BatchPlan(7, 2), BatchPlan(2, 7)),
        (BatchPlan(9, 1, 2, 1), BatchPlan(3, 3, 2, 1)),
        (BatchPlan(1, 5), None),
    ],
)
def test_the_smaller_plan_keeps_the_global_batch(plan: BatchPlan, expected: BatchPlan | None) -> None:
    assert plan.smaller() == expected
    assert expected is None or expected.global_batch == plan.global_batch
