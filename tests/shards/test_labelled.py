"""A classifier's rows: every labelled document once, framed, shortened as asked, with its label."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from shards.cutting import LabelledTexts
from shards.dataset import Dataset
from shards.framing import Frame
from shards.labelled import LabelledSamples, SequentialLabelled, label_counts
from shards.packing_plan import Plan, open_plan
from shards.token_stream import IGNORE, PackedBatch
from tokenization.truncation import kept_spans

FRAME = Frame(cls=64001, sep=64002, pad=64003)
LENGTHS = [5, 1, 13, 7, 30, 2, 11, 8, 1, 17]
T = 11  # nine tokens of a document


@pytest.fixture
def dataset(tmp_path: Path, make: object) -> Dataset:
    """Documents of LENGTHS tokens, the terminator included, in shards of a few; the third one has no label."""
    make.dataset(tmp_path / "set", LENGTHS, 20)  # type: ignore[attr-defined]
    number = 0
    for path in sorted((tmp_path / "set" / "train").glob("*.docs.npy")):
        records = np.load(path)
        for record in records:
            record["label"] = -1 if number == 2 else number % 3
            number += 1
        np.save(path, records)
    return Dataset.open(tmp_path / "set")


def plan_of(dataset: Dataset, tmp_path: Path) -> Plan:
    return open_plan(dataset, T, [tmp_path / "plans"], lambda share: None, LabelledTexts())


def expected(dataset: Dataset, how: Literal["head", "tail", "head_tail"]) -> list[tuple[list[int], int]]:
    """Framed text and label of every labelled document."""
    found = []
    for number, length in enumerate(LENGTHS):
        text = dataset.document(number).tolist()[: length - 1]
        if len(text) > T - 2:
            cuts = {"head": text[:9], "tail": text[-9:], "head_tail": text[:2] + text[-7:]}
            text = cuts[how]
        if number != 2:
            found.append(([FRAME.cls, *text, FRAME.sep], number % 3))
    return sorted(found)


def documents(batch: PackedBatch) -> list[tuple[list[int], int]]:
    assert batch.labels is not None and len(batch.labels) == len(batch.pieces) - 1
    flat, borders = batch.inputs.ravel(), batch.pieces.tolist()
    pieces = [flat[a:b].tolist() for a, b in pairwise(borders)]
    for piece, label in zip(pieces, batch.labels.tolist(), strict=True):
        assert (label == IGNORE) == (set(piece) == {FRAME.pad})
    return [(piece, label) for piece, label in zip(pieces, batch.labels.tolist(), strict=True) if label != IGNORE]


@pytest.mark.parametrize("how", ["head", "tail", "head_tail"])
def test_every_labelled_document_is_in_every_epoch_once(
    dataset: Dataset, tmp_path: Path, how: Literal["head", "tail", "head_tail"]
) -> None:
    def keep(length: int, room: int) -> list[tuple[int, int]]:
        return kept_spans(length, room, how)

    plan = plan_of(dataset, tmp_path)
    samples = LabelledSamples(dataset, plan, 5, FRAME, keep)
    rows = samples.samples_per_epoch
    epochs = [samples.batch(np.arange(rows * epoch, rows * (epoch + 1))) for epoch in range(2)]
    assert [sorted(documents(epoch)) for epoch in epochs] == [expected(dataset, how)] * 2
    assert not np.array_equal(epochs[0].inputs, epochs[1].inputs)
    in_order = SequentialLabelled(dataset, plan, FRAME, keep)
    parts = [in_order.batch(first, 3) for first in range(0, len(in_order), 3)]
    assert sorted(piece for part in parts for piece in documents(part)) == expected(dataset, how)
    one_by_one = np.concatenate([samples.batch(np.array([number])).inputs for number in range(rows)])
    assert np.array_equal(one_by_one, epochs[0].inputs)


def test_a_sample_says_where_its_tokens_stand(dataset: Dataset, tmp_path: Path) -> None:
    """The stream counts up from 0, so that a token is its place."""
    samples = LabelledSamples(
        dataset, plan_of(dataset, tmp_path), 5, FRAME, lambda n, room: kept_spans(n, room, "tail")
    )
    for number in range(samples.samples_per_epoch):
        (places,) = samples.locate(np.array([number]))
        tokens = [place.token + n for place in places for n in range(place.tokens)]
        assert tokens == [token for token in samples.batch(np.array([number])).inputs[0].tolist() if token < 64000]


def test_labels_are_counted(dataset: Dataset) -> None:
    assert label_counts(dataset) == {0: 4, 1: 3, 2: 2}
