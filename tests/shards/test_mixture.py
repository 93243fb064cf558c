"""Mixtures: exact shares in every pattern, each dataset's samples in its own order, and changes on the way."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.dataset import Dataset
from shards.mixture import Mixture, Part, Stretch, lowest_terms, next_stretch, pattern
from shards.packing import PackedSamples
from shards.samples import Samples

examples = settings(max_examples=100, deadline=None)
SHARES = st.lists(st.integers(1, 12), min_size=1, max_size=5)


def stretch(shares: list[int], sample: int = 0, firsts: list[int] | None = None) -> Stretch:
    firsts = firsts or [0] * len(shares)
    parts = [
        Part(f"id{i}", f"path{i}", share, first) for i, (share, first) in enumerate(zip(shares, firsts, strict=True))
    ]
    return Stretch(sample, tuple(parts))


def mixture(plan: Stretch) -> Mixture:
    """One that only resolves numbers."""
    blank = SimpleNamespace(sequence_length=3, samples_per_epoch=7)
    return Mixture([blank] * len(plan.parts), plan)  # type: ignore[list-item]


@given(SHARES, st.integers(0, 50), st.integers(0, 6))
@examples
def test_every_pattern_has_the_exact_shares_evenly_spread(shares: list[int], sample: int, turn: int):
    total = sum(shares)
    start = sample + turn * total
    parts, _ = mixture(stretch(shares, sample)).resolve(np.arange(start, start + total))
    assert np.bincount(parts, minlength=len(shares)).tolist() == shares
    for part, share in enumerate(shares):
        seen = np.cumsum(parts == part)
        assert (abs(seen - np.arange(1, total + 1) * share / total) < len(shares)).all()


@given(SHARES, st.integers(0, 50), st.data())
@examples
def test_each_dataset_gives_its_samples_one_after_the_other(shares: list[int], sample: int, data: st.DataObject):
    firsts = data.draw(st.lists(st.integers(0, 99), min_size=len(shares), max_size=len(shares)))
    plan = stretch(shares, sample, firsts)
    count = 3 * sum(shares) + 5
    parts, own = mixture(plan).resolve(np.arange(sample, sample + count))
    for part, first in enumerate(firsts):
        mine = own[parts == part]
        assert mine.tolist() == list(range(first, first + len(mine)))
    reached = [first + int((parts == part).sum()) for part, first in enumerate(firsts)]
    assert plan.reached(sample + count) == reached
    alone = [mixture(plan).resolve(np.array([n])) for n in range(sample, sample + count)]
    assert [int(one[0][0]) for one in alone] == parts.tolist() and [int(one[1][0]) for one in alone] == own.tolist()


def test_a_change_continues_each_dataset_where_it_was():
    before = stretch([3, 1], firsts=[0, 0])
    parts = [Part("id1", "elsewhere", 2, 0), Part("new", "path9", 5, 0), Part("grown", "path0", 1, 0)]
    after = next_stretch([before], parts, 10)
    assert after.sample == 10 and after.shares == [2, 5, 1]
    reached = before.reached(10)
    assert sum(reached) == 10
    assert [part.first for part in after.parts] == [reached[1], 0, reached[0]]
    assert Stretch.from_plain(json.loads(json.dumps(after.plain()))) == after
    assert before.describe() == "path0 75.00%, path1 25.00%"


def test_a_dataset_that_was_left_out_for_a_while_goes_on_where_it_was_left():
    both = stretch([1, 3], firsts=[0, 0])
    alone = next_stretch([both], [Part(both.parts[0].dataset, "path0", 1, 0)], 1000)
    again = next_stretch([both, alone], both.parts, 2000)
    assert [part.first for part in alone.parts] == [250]
    assert [part.first for part in again.parts] == [1250, 750]


def test_lowest_terms_and_the_pattern():
    assert lowest_terms([700, 200, 100]) == [7, 2, 1]
    assert pattern([3, 1])[0].tolist() == [0, 0, 1, 0]
    assert pattern([1])[0].tolist() == [0]


@pytest.mark.parametrize("mask", [True, False])
def test_a_batch_is_made_of_the_datasets_own_rows(make: SimpleNamespace, tmp_path: Path, mask: bool):
    samples: list[Samples] = []
    for name, lengths in (("a", [5, 7, 11, 2, 3, 13, 1]), ("b", [29, 4, 4, 31])):
        make.dataset(tmp_path / name, lengths, 17)
        samples.append(PackedSamples(Dataset.open(tmp_path / name), 6, seed=3, document_mask=mask))
    mixed = Mixture(samples, stretch([2, 1], sample=4, firsts=[3, 8]))
    assert mixed.samples_per_epoch == sum(part.samples_per_epoch for part in samples)
    numbers = np.array([9, 4, 17, 5, 6])
    parts, own = mixed.resolve(numbers)
    assert set(parts.tolist()) == {0, 1}
    batch = mixed.batch(numbers)
    alone = [samples[part].batch(own[at : at + 1]) for at, part in enumerate(parts.tolist())]
    np.testing.assert_array_equal(batch.inputs, np.concatenate([one.inputs for one in alone]))
    np.testing.assert_array_equal(batch.targets, np.concatenate([one.targets for one in alone]))
    if mask:
        borders = [border + 6 * row for row, one in enumerate(alone) for border in one.pieces[:-1].tolist()]
        assert batch.pieces.tolist() == [*borders, 30]
    else:
        assert batch.segments is None
    places = [samples[part].locate(own[at : at + 1])[0] for at, part in enumerate(parts.tolist())]
    assert mixed.locate(numbers) == places


def test_one_dataset_alone_is_left_as_it_is(make: SimpleNamespace, tmp_path: Path):
    make.dataset(tmp_path / "a", [29, 4, 4, 31], 17)
    samples = PackedSamples(Dataset.open(tmp_path / "a"), 6, seed=3)
    numbers = np.array([5, 0, 31])
    np.testing.assert_array_equal(Mixture([samples], stretch([1])).batch(numbers).inputs, samples.batch(numbers).inputs)
