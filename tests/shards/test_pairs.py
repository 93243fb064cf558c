"""Sentence pairs against plain code: whole sentences, true or from another document, half and half, nothing lost."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import UserError
from shards import cutting
from shards.dataset import Dataset
from shards.documents import SENTENCE
from shards.framing import PAIR, Frame
from shards.manifest import Manifest
from shards.packing_plan import Plan, open_plan
from shards.pairs import IS_NEXT, RANDOM, PairSamples, SequentialPairs
from shards.pairs_plan import BITS, SENTENCES, SentenceChunks, runs
from shards.token_stream import IGNORE, PackedBatch
from shards.writer import SplitWriter

FRAME = Frame(cls=64001, sep=64002, pad=64003)
TEXTS = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=8), min_size=2, max_size=15)
examples = settings(max_examples=25, deadline=None)


def built(
    make: SimpleNamespace, folder: Path, texts: Sequence[Sequence[int]], shard_tokens: int = 10**9, same: bool = False
) -> Dataset:
    """A dataset whose documents have sentences of these lengths, and a terminator. Tokens count up over the split, so a
    token says where it stands; with `same`, all documents have one content hash."""
    lengths = [sum(sentences) + 1 for sentences in texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        make.dataset(folder, [2])
        writer = SplitWriter(folder / "train", np.dtype("uint16"), shard_tokens, ("sentences",))
        for number, (document, sentences) in enumerate(zip(make.documents(lengths), texts, strict=True)):
            ends = list(itertools.accumulate(sentences)) if len(sentences) > 1 else []
            rows = {"sentences": np.array([(0, end) for end in ends], SENTENCE)}
            record = make.records(1, 0 if same else number)
            writer.append(document, np.array([len(document)], np.int32), record, np.array([number]), rows)
        old = Manifest.load(folder)
        old.model_copy(update={"splits": {**old.splits, "train": writer.finish()}}).save(folder)
    return Dataset.open(folder)


def planned(dataset: Dataset, folder: Path, length: int) -> Plan:
    return open_plan(dataset, length, [folder / "plans"], lambda share: None, SentenceChunks())


class Truth:
    """What a place in the stream is, from the lists that the dataset was built from."""

    def __init__(self, texts: Sequence[Sequence[int]]) -> None:
        self.document: dict[int, int] = {}
        self.starts, self.ends, self.texts = set(), set(), set()
        place = 0
        for number, sentences in enumerate(texts):
            for length in sentences:
                self.starts.add(place)
                self.document |= dict.fromkeys(range(place, place + length), number)
                self.texts |= set(range(place, place + length))
                place += length
                self.ends.add(place)
            place += 1  # the terminator


def pieces_of(batch: PackedBatch) -> Iterator[tuple[list[int], list[int], int]]:
    """Texts A and B (empty where there is one text) and the label of each piece; checks the frame."""
    assert batch.token_types is not None and batch.labels is not None
    tokens, types = batch.inputs.ravel().tolist(), batch.token_types.ravel().tolist()
    assert len(batch.labels) == len(batch.pieces) - 1
    for (first, stop), label in zip(itertools.pairwise(batch.pieces.tolist()), batch.labels.tolist(), strict=True):
        piece, kinds = tokens[first:stop], types[first:stop]
        if piece[0] == FRAME.pad:
            assert set(piece) == {FRAME.pad} and set(kinds) == {0} and label == IGNORE
            assert stop % batch.inputs.shape[1] == 0  # padding is the end of a row
            continue
        seps = [place for place, token in enumerate(piece) if token == FRAME.sep]
        assert piece[0] == FRAME.cls and seps[-1] == len(piece) - 1 and len(seps) == (1 if label == IGNORE else 2)
        assert kinds == [int(place > seps[0]) for place in range(len(piece))]
        yield piece[1 : seps[0]], piece[seps[0] + 1 : -1], label


def is_run(tokens: Sequence[int]) -> bool:
    return list(tokens) == list(range(tokens[0], tokens[0] + len(tokens)))


def fewest_alone(lengths: Sequence[int], room: int) -> int:
    """By trying all ways to cut a document: how many chunks of one sentence it must have."""
    best = len(lengths)
    for cuts in itertools.product([False, True], repeat=len(lengths) - 1):
        chunks: list[list[int]] = [[lengths[0]]]
        for cut, length in zip(cuts, lengths[1:], strict=True):
            if cut:
                chunks.append([])
            chunks[-1].append(length)
        if all(len(chunk) == 1 or sum(chunk) <= room for chunk in chunks):
            best = min(best, sum(len(chunk) == 1 for chunk in chunks))
    return best


@given(st.lists(st.integers(1, 30), min_size=1, max_size=9), st.integers(4, 40))
@examples
def test_a_document_is_cut_into_whole_sentences_as_few_as_can_be_alone(lengths: list[int], room: int):
    found = runs(list(itertools.accumulate(lengths)), room)
    assert [first for first, _ in found] == [0, *(stop for _, stop in found[:-1])] and found[-1][1] == len(lengths)
    assert all(stop - first == 1 or sum(lengths[first:stop]) <= room for first, stop in found)
    assert sum(stop - first == 1 for first, stop in found) == fewest_alone(lengths, room)


@given(TEXTS, st.integers(1, 60), st.integers(7, 30), st.integers(1, 9))
@examples
def test_a_plan_has_every_token_of_every_text_once(
    make: SimpleNamespace, texts: list[list[int]], shard_tokens: int, length: int, at_once: int
):
    texts = [[1, 1], [2, 1], *texts]
    truth = Truth(texts)
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "DOCUMENTS_AT_ONCE", at_once)
        dataset = built(make, Path(folder) / "set", texts, shard_tokens)
        plan = planned(dataset, Path(folder), length)
        located = PairSamples(dataset, plan, 3, FRAME).locate(np.arange(plan.summary.rows))
        rows = [plan.row(row) for row in range(plan.summary.rows)]
    assert all(sum(tokens + PAIR for _, tokens in row) <= length for row in rows)
    assert sorted(place.tokens for row in located for place in row) == sorted(n for row in rows for _, n in row)
    seen = [token for row in located for place in row for token in range(place.token, place.token + place.tokens)]
    assert sorted(seen) == sorted(truth.texts)
    for row in located:
        for place in row:
            assert truth.document[place.token] == truth.document[place.token + place.tokens - 1]
    for start, _ in itertools.chain(*rows):
        assert start & SENTENCES != 1  # one sentence is no chunk
        assert start & SENTENCES or start >> BITS in truth.texts
    assert plan.summary.cut == sum(sum(sentences) > length - PAIR for sentences in texts)


@given(TEXTS, st.integers(1, 60), st.integers(8, 40), st.integers(0, 99))
@examples
def test_pairs_are_whole_sentences_true_or_of_another_document(
    make: SimpleNamespace, texts: list[list[int]], shard_tokens: int, length: int, seed: int
):
    texts = [[2, 1, 1], [1, 1, 2], *texts]
    truth = Truth(texts)
    with TemporaryDirectory() as folder:
        dataset = built(make, Path(folder) / "set", texts, shard_tokens)
        plan = planned(dataset, Path(folder), length)
        samples = PairSamples(dataset, plan, seed, FRAME)
        batch = samples.batch(np.arange(2 * plan.summary.rows))
        chunks = [place for row in samples.locate(np.arange(2 * plan.summary.rows)) for place in row]
    assert batch.targets is None
    found = list(pieces_of(batch))
    assert len(found) == len(chunks)
    for chunk, (a, b, label) in zip(chunks, found, strict=True):
        assert is_run(a) and a[0] == chunk.token
        if label == IGNORE:
            assert len(a) == chunk.tokens
            continue
        assert a[-1] + 1 in truth.ends and b[0] in truth.starts and b[-1] + 1 in truth.ends and is_run(b)
        assert len({truth.document[token] for token in b}) == 1
        if label == IS_NEXT:
            assert b[0] == a[-1] + 1 and len(a) + len(b) == chunk.tokens
        else:
            assert label == RANDOM and truth.document[b[0]] != truth.document[a[0]]
            assert len(a) + len(b) <= chunk.tokens
            assert b[0] - 1 in truth.document  # like a true B, it never begins its document
    labels = np.array([label for *_, label in found])
    counts = [len(plan.row(row)) for row in samples.rows(np.arange(len(batch.inputs)))]
    rows = np.repeat(np.arange(len(counts)), counts)
    for row in range(len(batch.inputs)):
        true, random = (int(np.count_nonzero(labels[rows == row] == label)) for label in (IS_NEXT, RANDOM))
        assert abs(true - random) <= 1


@pytest.fixture(scope="module")
def stories(make: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """500 documents with sentences of all lengths, and their plan for rows of 64 tokens."""
    folder = tmp_path_factory.mktemp("stories")
    random = np.random.default_rng(5)
    texts = [random.integers(2, 20, random.integers(1, 13)).tolist() for _ in range(500)]
    dataset = built(make, folder / "set", texts, 5000)
    return SimpleNamespace(texts=texts, dataset=dataset, plan=planned(dataset, folder, 64))


def all_pairs(samples: PairSamples, first: int, count: int) -> list[tuple[list[int], list[int], int]]:
    return [piece for piece in pieces_of(samples.batch(np.arange(first, first + count))) if piece[2] != IGNORE]


def test_half_of_all_pairs_are_true_and_nothing_but_the_texts_tells(stories: SimpleNamespace):
    samples = PairSamples(stories.dataset, stories.plan, 1, FRAME)
    rows, truth = stories.plan.summary.rows, Truth(stories.texts)
    found = all_pairs(samples, 0, 8 * rows)
    labels = np.array([label for *_, label in found])
    assert len(labels) > 4000 and abs(labels.mean() - 0.5) < 4 * 0.5 / np.sqrt(len(labels))
    # How long B is, and whether it ends its document, is the same for both kinds, within 4 standard errors.
    last = {max(token for token, of in truth.document.items() if of == number) for number in range(500)}
    for of_pair in (lambda a, b: len(a), lambda a, b: len(b), lambda a, b: len(a) + len(b), lambda a, b: b[-1] in last):
        values = np.array([float(of_pair(a, b)) for a, b, _ in found])
        one, other = values[labels == IS_NEXT], values[labels == RANDOM]
        error = np.sqrt(one.var() / len(one) + other.var() / len(other))
        assert abs(one.mean() - other.mean()) < 4 * error + 0.02 * values.mean()


def test_few_texts_are_left_without_a_pair(stories: SimpleNamespace):
    pieces = stories.plan.pieces(np.arange(stories.plan.summary.pieces))
    unpaired = int(np.count_nonzero(pieces["start"] & SENTENCES == 0))
    assert unpaired == sum(len(sentences) == 1 for sentences in stories.texts)
    samples = PairSamples(stories.dataset, stories.plan, 1, FRAME)
    found = list(pieces_of(samples.batch(np.arange(stories.plan.summary.rows))))
    assert unpaired <= sum(label == IGNORE for *_, label in found) <= unpaired + 0.01 * len(found)


def test_a_sample_depends_on_the_seed_and_its_number_alone(stories: SimpleNamespace):
    samples = PairSamples(stories.dataset, stories.plan, 1, FRAME)
    numbers = np.array([3, 0, 3 + 5 * stories.plan.summary.rows, 7])
    together, again = samples.batch(numbers), PairSamples(stories.dataset, stories.plan, 1, FRAME)
    for place, number in enumerate(numbers):
        alone = again.batch(np.array([number]))
        for name in ("inputs", "token_types"):
            np.testing.assert_array_equal(getattr(alone, name)[0], getattr(together, name)[place])
    other = PairSamples(stories.dataset, stories.plan, 2, FRAME).batch(numbers)
    assert not np.array_equal(other.inputs, together.inputs)


def test_a_chunk_is_cut_anew_in_each_epoch(stories: SimpleNamespace):
    samples = PairSamples(stories.dataset, stories.plan, 1, FRAME)
    rows = stories.plan.summary.rows
    cuts: dict[int, set[tuple[int, int]]] = {}
    for epoch in range(6):
        for a, _, label in all_pairs(samples, epoch * rows, rows):
            cuts.setdefault(a[0], set()).add((len(a), label))
    seen = np.array([len(ways) for ways in cuts.values()])
    assert np.mean(seen > 1) > 0.8
    assert np.mean([len({tokens for tokens, _ in ways}) > 1 for ways in cuts.values()]) > 0.5
    assert np.mean([len({label for _, label in ways}) == 2 for ways in cuts.values()]) > 0.8


def test_validation_sees_each_chunk_once_and_the_same_pairs_always(stories: SimpleNamespace):
    rows = SequentialPairs(stories.dataset, stories.plan, FRAME)
    assert len(rows) == stories.plan.summary.rows and rows.sequence_length == 64
    whole = rows.batch(0, len(rows))
    parts = [rows.batch(first, 7) for first in range(0, len(rows), 7)]
    for name in ("inputs", "token_types"):
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name))
    np.testing.assert_array_equal(np.concatenate([part.labels for part in parts]), whole.labels)  # type: ignore[misc]
    begins = [a[0] for a, _, _ in pieces_of(whole)]
    assert len(begins) == len(set(begins)) == stories.plan.summary.pieces


def test_a_copy_of_the_same_document_lends_no_b(make: SimpleNamespace, tmp_path: Path):
    dataset = built(make, tmp_path / "set", [[3, 4, 5, 2]] * 9, same=True)
    plan = planned(dataset, tmp_path, 40)
    assert {label for *_, label in pieces_of(PairSamples(dataset, plan, 1, FRAME).batch(np.arange(20)))} == {IGNORE}


def test_a_dataset_without_sentences_is_refused_by_name(make: SimpleNamespace, tmp_path: Path):
    make.dataset(tmp_path / "set", [9, 9, 9])
    with pytest.raises(UserError, match=r"set: .*--sentence_borders true.*--task mlm"):
        planned(Dataset.open(tmp_path / "set"), tmp_path, 64)


def test_a_split_without_two_documents_of_sentences_is_refused(make: SimpleNamespace, tmp_path: Path):
    dataset = built(make, tmp_path / "set", [[5, 6], [7], [4], [30, 30]])
    with pytest.raises(UserError, match=r"set: split 'train' has 1 documents with two sentences.*--task mlm"):
        planned(dataset, tmp_path, 40)
    assert not [path for path in (tmp_path / "plans").iterdir() if path.suffix != ".lock"]
