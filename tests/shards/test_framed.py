"""An encoder's rows: every text once, framed, packed, labelled; nothing crosses a piece."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import UserError
from shards import cutting, packing_plan
from shards.cutting import LabelledTexts, Texts
from shards.framed import FramedSamples, SequentialFramed
from shards.framing import Frame, FramedRows
from shards.mixture import Mixture, Part, Stretch
from shards.packing_plan import open_plan
from shards.token_stream import IGNORE, PackedBatch
from tests.shards.conftest import built, silent
from tokenization.roles import Roles

examples = settings(max_examples=40, deadline=None)
LENGTHS = st.lists(st.integers(1, 33), min_size=1, max_size=25)
FRAME = Frame(cls=64001, sep=64002, pad=64003)


def pieces_of(batch: PackedBatch) -> list[list[int]]:
    """The pieces of a batch; checks that each row starts one and that all rows are covered."""
    rows, length = batch.inputs.shape
    borders = batch.pieces.tolist()
    assert borders[0] == 0 and borders[-1] == rows * length and sorted(set(borders)) == borders
    assert set(range(0, rows * length, length)) <= set(borders)
    flat = batch.inputs.ravel().tolist()
    return [flat[a:b] for a, b in pairwise(borders)]


@given(LENGTHS, st.integers(1, 60), st.integers(3, 17), st.booleans(), st.integers(1, 9), st.integers(0, 99))
@examples
def test_every_text_is_in_every_epoch_once_and_framed(
    make: SimpleNamespace,
    lengths: list[int],
    shard_tokens: int,
    length: int,
    terminated: bool,
    at_once: int,
    seed: int,
):
    ends = np.cumsum(lengths).tolist()
    texts = [list(range(b - n, b - terminated)) for n, b in zip(lengths, ends, strict=True)]
    room = length - 2
    expected = sorted(t[a : a + room] for t in texts for a in range(0, len(t), room))
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "DOCUMENTS_AT_ONCE", at_once)
        patch.setattr(packing_plan, "ROWS_AT_ONCE", at_once)
        dataset = built(make, Path(folder) / "set", lengths, shard_tokens, terminated)
        if not expected:
            with pytest.raises(UserError, match="no document with text"):
                open_plan(dataset, length, [Path(folder)], silent, Texts())
            return
        plan = open_plan(dataset, length, [Path(folder)], silent, Texts())
        samples = FramedSamples(dataset, plan, seed, FRAME)
        batch = samples.batch(np.arange(2 * plan.summary.rows, 3 * plan.summary.rows))
        in_order = SequentialFramed(dataset, plan, FRAME)
        every = in_order.batch(0, len(in_order) + 3)
    for one in (batch, every):
        pieces = pieces_of(one)
        padding = [piece for piece in pieces if piece[0] == FRAME.pad]
        assert all(set(piece) == {FRAME.pad} for piece in padding)
        framed = [piece for piece in pieces if piece[0] != FRAME.pad]
        assert {(piece[0], piece[-1]) for piece in framed} == {(FRAME.cls, FRAME.sep)}
        assert sorted(piece[1:-1] for piece in framed) == expected
        assert one.targets is None and one.token_types is None and one.labels is None
        assert plan.summary.padding == pytest.approx(np.mean(one.inputs == FRAME.pad))
    assert (plan.summary.pieces, plan.summary.cut) == (len(expected), sum(len(t) > room for t in texts))


def test_labelled_documents_have_one_piece_each(make: SimpleNamespace, tmp_path: Path):
    dataset = built(make, tmp_path / "set", [5, 1, 17, 9, 4, 6], 12, True)  # 4, 0, 16, 8, 3, 5 tokens of text
    labels = [1, 0, 2, -1, 0, 1]
    for shard, offset in zip(dataset.shards, dataset.document_offsets.tolist(), strict=False):
        assert shard.records is not None
        records = np.array(shard.records)
        records["label"] = labels[offset : offset + len(records)]
        object.__setattr__(shard, "records", records)
    plan = open_plan(dataset, 10, [tmp_path], silent, LabelledTexts())
    rows = [plan.row(number) for number in range(plan.summary.rows)]
    assert sorted(piece for row in rows for piece in row) == [(0, 4), (1, 0), (2, 8), (4, 3), (5, 5)]
    assert all(sum(length + 2 for _, length in row) <= 10 for row in rows)
    assert (plan.summary.cut, plan.summary.tokens) == (1, 20)
    with pytest.raises(UserError, match="no document with a label"):
        open_plan(built(make, tmp_path / "other", [5, 4], 12, True), 10, [tmp_path], silent, LabelledTexts())


def test_plans_of_one_dataset_do_not_mix(make: SimpleNamespace, tmp_path: Path):
    dataset = built(make, tmp_path / "set", [5, 7, 11, 2, 3, 13, 1], 17, True)
    plans = [open_plan(dataset, 8, [tmp_path], silent, kind) for kind in (None, Texts())]
    again = [open_plan(dataset, 8, [tmp_path], silent, kind) for kind in (None, Texts())]
    assert [plan.path for plan in plans] == [plan.path for plan in again]
    assert len({plan.path for plan in plans}) == 2 == len({plan.summary.identity for plan in plans})
    with pytest.raises(UserError, match="max_seq_len 2 leaves no room"):
        open_plan(dataset, 2, [tmp_path], silent, Texts())


def test_pairs_have_token_types_and_labels():
    rows = FramedRows(3, 9, FRAME, token_types=True, labels=True)
    a, b = rows.pair(0, 2, 3, label=1)
    a[:], b[:] = [11, 12], [21, 22, 23]
    rows.single(1, 1, label=0)[:] = 31
    c, d = rows.pair(1, 1, 1)
    c[:], d[:] = 41, 51
    batch = rows.batch()
    cls, sep, pad = FRAME.cls, FRAME.sep, FRAME.pad
    assert batch.token_types is not None and batch.labels is not None
    assert batch.inputs.tolist() == [
        [cls, 11, 12, sep, 21, 22, 23, sep, pad],
        [cls, 31, sep, cls, 41, sep, 51, sep, pad],
        [pad] * 9,
    ]
    assert batch.token_types.tolist() == [
        [0, 0, 0, 0, 1, 1, 1, 1, 0],
        [0, 0, 0, 0, 0, 0, 1, 1, 0],
        [0] * 9,
    ]
    assert batch.pieces.tolist() == [0, 8, 9, 12, 17, 18, 27]
    assert batch.labels.tolist() == [1, IGNORE, 0, IGNORE, IGNORE, IGNORE]
    with pytest.raises(AssertionError, match="overflows"):
        FramedRows(1, 9, FRAME).single(0, 8)


class Labelled:
    """Stand-in samples whose rows hold two pieces with labels and types made of the sample's number."""

    sequence_length, samples_per_epoch = 7, 100

    def __init__(self, base: int) -> None:
        self._base = base

    def batch(self, numbers: np.ndarray) -> PackedBatch:
        rows = FramedRows(len(numbers), 7, FRAME, token_types=True, labels=True)
        for row, number in enumerate(numbers.tolist()):
            a, b = rows.pair(row, 1, 1 + number % 2, label=self._base + number)
            a[:], b[:] = self._base + number, number
        return rows.batch()


def test_a_mixture_keeps_labels_with_their_pieces():
    stretch = Stretch(0, (Part("a", "a", 2, 0), Part("b", "b", 1, 5)))
    samples = [Labelled(100), Labelled(200)]
    mixed = Mixture(samples, stretch)  # type: ignore[arg-type]
    numbers = np.arange(7)[::-1].copy()
    parts, own = mixed.resolve(numbers)
    alone = [samples[part].batch(own[at : at + 1]) for at, part in enumerate(parts.tolist())]
    batch = mixed.batch(numbers)
    assert set(parts.tolist()) == {0, 1}
    np.testing.assert_array_equal(batch.inputs, np.concatenate([one.inputs for one in alone]))
    np.testing.assert_array_equal(batch.token_types, np.concatenate([one.token_types for one in alone]))
    np.testing.assert_array_equal(batch.labels, np.concatenate([one.labels for one in alone]))
    assert pieces_of(batch) == [piece for one in alone for piece in pieces_of(one)]


def test_a_frame_comes_from_the_roles():
    assert Frame.of(Roles(cls=5, sep=6, pad=0, mask=9), "task mlm", "here") == Frame(5, 6, 0)
    with pytest.raises(UserError, match=r"here: task mlm needs a token for the role 'sep'"):
        Frame.of(Roles(cls=5, pad=0), "task mlm", "here")
