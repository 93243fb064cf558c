"""Packing against a naive implementation on Python lists."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import UserError
from shards.dataset import Dataset
from shards.documents import RECORD
from shards.packing import IGNORE, PackedBatch, PackedSamples, SequentialSamples
from shards.writer import SplitWriter

examples = settings(max_examples=60, deadline=None)
LENGTHS = st.lists(st.integers(0, 13), min_size=1, max_size=25).filter(lambda lengths: sum(lengths) > 0)


class Naive:
    """The split as one list of tokens, and the number of the document that each token belongs to."""

    def __init__(self, documents: list[np.ndarray]) -> None:
        self.tokens = [int(token) for document in documents for token in document]
        self.owner = [number for number, document in enumerate(documents) for _ in document]

    def row(self, start: int, length: int) -> tuple[list[int], list[int]]:
        return self.tokens[start : start + length], self.tokens[start + 1 : start + 1 + length]

    def segments(self, starts: list[int], length: int) -> list[int]:
        """Row starts, and the places within rows whose target another document begins with; B*T at the end."""
        borders = []
        for row, start in enumerate(starts):
            for place in range(length):
                position = start + place
                if place == 0 or self.owner[position + 1] != self.owner[position]:
                    borders.append(row * length + place)
        return [*borders, len(starts) * length]


@pytest.fixture(scope="module")
def opened(make: SimpleNamespace) -> SimpleNamespace:
    """`opened.build(lengths, shard_tokens)` makes a dataset and its naive twin."""

    def build(lengths: list[int], shard_tokens: int) -> tuple[Dataset, Naive]:
        # The maps stay valid after the files are gone; the syncs would take most of the time of these tests.
        with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            patch.setattr("os.fsync", lambda descriptor: None)
            documents = make.dataset(Path(folder), lengths, shard_tokens)
            return Dataset.open(Path(folder)), Naive(documents)

    return SimpleNamespace(build=build)


def starts_of(batch: PackedBatch) -> list[int]:
    """Where each row begins: the tokens of these datasets count up from 0."""
    return [int(row[0]) for row in batch.inputs]


@given(LENGTHS, st.integers(1, 40), st.integers(1, 17), st.integers(0, 99), st.booleans(), st.data())
@examples
def test_packed_batches(
    opened: SimpleNamespace,
    lengths: list[int],
    shard_tokens: int,
    length: int,
    seed: int,
    shuffle: bool,
    data: st.DataObject,
):
    dataset, naive = opened.build(lengths, shard_tokens)
    count = (len(naive.tokens) - 1) // length
    if count < 1:
        with pytest.raises(UserError):
            PackedSamples(dataset, length, seed, shuffle)
        return
    samples = PackedSamples(dataset, length, seed, shuffle)
    assert samples.samples_per_epoch == count
    numbers = np.array(data.draw(st.lists(st.integers(0, 5 * count), min_size=1, max_size=7)), np.int64)
    batch = samples.batch(numbers)
    found = [array.dtype.name for array in (batch.inputs, batch.next_tokens, batch.pieces)]
    assert found == ["int64", "int64", "int32"]
    assert batch.inputs.shape == batch.next_tokens.shape == (len(numbers), length)
    starts = starts_of(batch)
    for row, start in enumerate(starts):
        assert (batch.inputs[row].tolist(), batch.next_tokens[row].tolist()) == naive.row(start, length)
        if not shuffle:
            assert start == numbers[row] % count * length
    assert batch.pieces.tolist() == naive.segments(starts, length)


@given(LENGTHS, st.integers(1, 40), st.integers(1, 11), st.integers(0, 99), st.integers(0, 3))
@examples
def test_an_epoch_is_a_cut_of_the_stream_in_another_order(
    opened: SimpleNamespace, lengths: list[int], shard_tokens: int, length: int, seed: int, epoch: int
):
    dataset, naive = opened.build(lengths, shard_tokens)
    count = (len(naive.tokens) - 1) // length
    if count < 1:
        return
    samples = PackedSamples(dataset, length, seed)
    starts = sorted(starts_of(samples.batch(np.arange(epoch * count, (epoch + 1) * count))))
    assert starts == list(range(starts[0], starts[0] + count * length, length))
    assert starts[-1] + length < len(naive.tokens)


def test_the_tail_of_one_epoch_is_seen_in_another(opened: SimpleNamespace):
    dataset, naive = opened.build([5, 7, 11, 2, 3, 13, 1], 17)  # 42 tokens: 2 samples of 17 leave 7 targets out
    samples = PackedSamples(dataset, 17, seed=5)
    seen = {int(token) for number in range(60) for token in samples.batch(np.array([number])).next_tokens.ravel()}
    assert seen == set(naive.tokens[1:])


@given(st.integers(0, 99), st.lists(st.integers(0, 200), min_size=1, max_size=9))
@examples
def test_the_company_of_a_sample_does_not_matter(opened: SimpleNamespace, seed: int, numbers: list[int]):
    dataset, _ = opened.build([5, 7, 0, 11, 2, 3, 13, 1], 17)
    samples = PackedSamples(dataset, 5, seed)
    together = samples.batch(np.array(numbers))
    alone = [PackedSamples(dataset, 5, seed).batch(np.array([number])) for number in numbers]
    np.testing.assert_array_equal(together.inputs, np.concatenate([batch.inputs for batch in alone]))
    np.testing.assert_array_equal(together.targets, np.concatenate([batch.next_tokens for batch in alone]))
    segments = [border + row * 5 for row, batch in enumerate(alone) for border in batch.pieces[:-1].tolist()]
    assert together.pieces.tolist() == [*segments, len(numbers) * 5]


def test_the_cut_of_the_shards_does_not_matter(opened: SimpleNamespace):
    lengths = [5, 7, 11, 2, 3, 13, 1]
    batches = [
        PackedSamples(opened.build(lengths, shard_tokens)[0], 5, seed=9).batch(np.arange(20))
        for shard_tokens in (1, 17, 1000)
    ]
    for batch in batches[1:]:
        for name in ("inputs", "targets", "segments"):
            np.testing.assert_array_equal(getattr(batch, name), getattr(batches[0], name))


def test_seeds_and_epochs_differ(opened: SimpleNamespace):
    dataset, _ = opened.build([97] * 11, 300)
    orders = []
    for seed in (1, 2):
        samples = PackedSamples(dataset, 7, seed)
        count = samples.samples_per_epoch
        orders += [starts_of(samples.batch(np.arange(e * count, (e + 1) * count))) for e in range(2)]
    assert len({tuple(order) for order in orders}) == 4
    assert all(order != sorted(order) for order in orders)


def test_golden_order(opened: SimpleNamespace):
    """A change of these changes what every resumed run sees."""
    samples = PackedSamples(opened.build([5, 7, 11, 2, 3, 13, 1], 17)[0], 5, seed=1234)
    assert starts_of(samples.batch(np.arange(16))) == [21, 26, 31, 36, 6, 11, 1, 16, 5, 10, 35, 25, 20, 15, 30, 0]


def test_too_small_a_dataset(opened: SimpleNamespace):
    dataset, _ = opened.build([3, 4], 100)
    assert PackedSamples(dataset, 6, seed=0).samples_per_epoch == 1
    with pytest.raises(UserError) as caught:
        PackedSamples(dataset, 7, seed=0)
    assert "'train' has 7 tokens" in str(caught.value) and "8 that one sample takes" in str(caught.value)
    assert "--max_seq_len" in str(caught.value)


def pieces(batch: PackedBatch) -> Iterator[tuple[int, int]]:
    segments = batch.pieces.tolist()
    assert segments[0] == 0 and segments[-1] == batch.inputs.size
    assert all(a < b for a, b in itertools.pairwise(segments))
    yield from itertools.pairwise(segments)


@given(LENGTHS, st.integers(1, 40), st.integers(1, 17), st.integers(1, 5))
@examples
def test_a_sequential_pass_has_every_target_once(
    opened: SimpleNamespace, lengths: list[int], shard_tokens: int, length: int, rows: int
):
    dataset, naive = opened.build(lengths, shard_tokens)
    samples = SequentialSamples(dataset, length)
    targets: list[int] = []
    for first in range(0, len(samples), rows):
        batch = samples.batch(first, rows)
        assert batch.inputs.shape == batch.next_tokens.shape == (min(rows, len(samples) - first), length)
        kept = batch.next_tokens != IGNORE
        targets += batch.next_tokens[kept].tolist()
        np.testing.assert_array_equal(batch.inputs[kept] + 1, batch.next_tokens[kept])  # tokens count up
        real = [place for place in range(batch.inputs.size) if kept.ravel()[place]]
        for begin, end in pieces(batch):
            owners = {naive.owner[first * length + place + 1] for place in range(begin, end) if place in real}
            assert len(owners) <= 1  # the targets of one document, or padding alone
            assert len({place in real for place in range(begin, end)}) == 1
    assert targets == naive.tokens[1:]


def test_only_the_last_row_is_padded(opened: SimpleNamespace):
    dataset, _ = opened.build([5, 7], 100)
    batch = SequentialSamples(dataset, 8).batch(0, 10)
    assert batch.next_tokens.tolist() == [[1, 2, 3, 4, 5, 6, 7, 8], [9, 10, 11, *[IGNORE] * 5]]
    assert batch.pieces.tolist() == [0, 4, 8, 11, 16]


def test_a_sequential_pass_over_nothing(small: tuple[Path, list[np.ndarray]]):
    samples = SequentialSamples(Dataset.open(small[0], "test"), 5)
    assert len(samples) == 0 and samples.targets == 0


def test_foreign_files_pack_alike(tmp_path: Path, opened: SimpleNamespace):
    dataset, naive = opened.build([42], 100)
    np.array(naive.tokens, "<u2").tofile(tmp_path / "train.bin")
    flat = PackedSamples(Dataset.open(tmp_path / "train.bin"), 5, seed=3).batch(np.arange(8))
    ours = PackedSamples(dataset, 5, seed=3).batch(np.arange(8))
    np.testing.assert_array_equal(flat.inputs, ours.inputs)
    np.testing.assert_array_equal(flat.pieces, ours.pieces)


@given(LENGTHS, st.integers(1, 40), st.integers(1, 17), st.integers(0, 99))
@examples
def test_without_a_mask_there_are_no_borders(
    opened: SimpleNamespace, lengths: list[int], shard_tokens: int, length: int, seed: int
):
    dataset, naive = opened.build(lengths, shard_tokens)
    if len(naive.tokens) <= length:
        return
    batches = [PackedSamples(dataset, length, seed, document_mask=mask).batch(np.arange(5)) for mask in (True, False)]
    np.testing.assert_array_equal(batches[0].inputs, batches[1].inputs)
    np.testing.assert_array_equal(batches[0].targets, batches[1].targets)
    assert batches[1].segments is None


@given(LENGTHS, st.integers(1, 40), st.integers(1, 17), st.integers(1, 5))
@examples
def test_without_a_terminator_nothing_is_predicted_across_a_border(
    opened: SimpleNamespace, lengths: list[int], shard_tokens: int, length: int, rows: int
):
    """The same tokens as a Megatron dataset, of which nobody says how its documents end."""
    dataset, naive = opened.build(lengths, shard_tokens)
    dataset.manifest = None
    samples = SequentialSamples(dataset, length)
    kept = []
    for first in range(0, len(samples), rows):
        batch = samples.batch(first, rows)
        for begin, end in pieces(batch):
            owners = [naive.owner[first * length + place] for place in range(begin, end)
                      if first * length + place < len(naive.owner)]  # fmt: skip
            assert len(set(owners)) <= 1 or batch.next_tokens.ravel()[begin:end].max() == IGNORE
        for place, target in enumerate(batch.next_tokens.ravel().tolist(), first * length):
            if target != IGNORE:
                assert target == naive.tokens[place + 1] and batch.inputs.ravel()[place - first * length] == target - 1
                kept.append(place + 1)
    assert kept == [at for at in range(1, len(naive.owner)) if naive.owner[at] == naive.owner[at - 1]]


def test_samples_say_where_they_stand(opened: SimpleNamespace):
    dataset, naive = opened.build([5, 7, 11, 2, 3, 13, 1], 17)
    samples = PackedSamples(dataset, 5, seed=1)
    numbers = np.array([3, 17, 0])
    for row, (place,) in zip(samples.batch(numbers).inputs, samples.locate(numbers), strict=True):
        assert (place.path, place.split, place.tokens) == (str(dataset.path), "train", 5)
        assert row.tolist() == naive.tokens[place.token : place.token + 5]


def test_a_batch_costs_no_pass_over_the_documents(tmp_path: Path):
    """The positions of 200,000 documents take 1.6 MB; a batch may not touch them all."""
    tokens, lengths = np.zeros(400_000, "uint16"), np.full(200_000, 2, np.int32)
    writer = SplitWriter(tmp_path / "train", tokens.dtype, 10**9)
    writer.append(tokens, lengths, np.zeros(200_000, RECORD), np.ones(200_000, int))
    name = writer.finish().shards[0].name
    samples = PackedSamples(Dataset.open(tmp_path / "train" / f"{name}.bin"), 64, seed=1)
    samples.batch(np.arange(2))
    tracemalloc.start()
    try:
        batch = samples.batch(np.arange(2))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(batch.pieces) in range(64, 68) and peak < 100_000
