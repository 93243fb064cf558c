"""Packing plans: every target once, no row too long, documents whole, and a build that may die anywhere."""

from __future__ import annotations

import json
import shutil
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import UserError
from shards import cutting, packing_plan
from shards.dataset import Dataset
from shards.documents import RECORD
from shards.packing_plan import Plan, open_plan
from shards.plan_place import cache_places, first_writable
from shards.planned import PlannedSamples
from shards.token_stream import IGNORE
from shards.writer import SplitWriter
from tests.shards.conftest import built, silent

examples = settings(max_examples=60, deadline=None)
LENGTHS = st.lists(st.integers(0, 33), min_size=1, max_size=25).filter(lambda lengths: sum(lengths) > 1)


def documents_of(lengths: list[int], terminated: bool) -> list[list[int]]:
    """The input tokens of each document; tokens count up from 0 and each predicts the next."""
    ends = np.cumsum(lengths).tolist()
    starts = [0, *ends[:-1]]
    if not terminated:
        return [list(range(start, end - 1)) for start, end in zip(starts, ends, strict=True)]
    return [list(range(max(0, start - 1), end - 1)) for start, end in zip(starts, ends, strict=True)]


@given(LENGTHS, st.integers(1, 60), st.integers(1, 17), st.booleans(), st.integers(1, 9), st.integers(0, 99))
@examples
def test_every_target_is_in_every_epoch_once(
    make: SimpleNamespace,
    lengths: list[int],
    shard_tokens: int,
    length: int,
    terminated: bool,
    at_once: int,
    seed: int,
):
    expected = [tokens for tokens in documents_of(lengths, terminated) if tokens]
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "DOCUMENTS_AT_ONCE", at_once)
        patch.setattr(packing_plan, "ROWS_AT_ONCE", at_once)
        dataset = built(make, Path(folder) / "set", lengths, shard_tokens, terminated)
        places = [Path(folder) / "plans"]
        if not expected:
            with pytest.raises(UserError, match="no document of two tokens"):
                open_plan(dataset, length, places, silent)
            return
        samples = PlannedSamples(dataset, open_plan(dataset, length, places, silent), seed)
        count = samples.samples_per_epoch
        batch = samples.batch(np.arange(3 * count, 4 * count))
        kept = batch.next_tokens != IGNORE
        np.testing.assert_array_equal(batch.inputs[kept] + 1, batch.next_tokens[kept])
        assert sorted(batch.inputs[kept].tolist()) == sorted(token for tokens in expected for token in tokens)
        pieces = [batch.inputs.ravel()[a:b][kept.ravel()[a:b]].tolist()
                  for a, b in zip(batch.pieces[:-1], batch.pieces[1:], strict=True)]  # fmt: skip
        cut = [tokens[a : a + length] for tokens in expected for a in range(0, len(tokens), length)]
        assert sorted(piece for piece in pieces if piece) == sorted(cut)
        summary = samples.plan.summary
        assert (summary.tokens, summary.pieces) == (kept.sum(), len(cut))
        assert summary.cut == sum(len(tokens) > length for tokens in expected)
        assert summary.padding == pytest.approx(1 - kept.mean())
        unmasked = PlannedSamples(dataset, samples.plan, seed, document_mask=False).batch(
            np.arange(3 * count, 4 * count)
        )
        assert unmasked.segments is None and np.array_equal(unmasked.next_tokens, batch.next_tokens)


def test_epochs_and_seeds_differ_and_company_does_not_matter(make: SimpleNamespace, tmp_path: Path):
    dataset = built(make, tmp_path / "set", [5, 7, 11, 2, 3, 13, 1] * 9, 50, True)
    plan = open_plan(dataset, 14, [tmp_path], silent)
    one, other = PlannedSamples(dataset, plan, 1), PlannedSamples(dataset, plan, 2)
    count = one.samples_per_epoch
    orders = [s.batch(np.arange(e * count, (e + 1) * count)).inputs.tolist() for s in (one, other) for e in (0, 1)]
    assert len({str(order) for order in orders}) == 4
    assert all(sorted(order) == sorted(orders[0]) for order in orders)
    numbers = np.array([7, 0, count + 3])
    alone = [one.batch(numbers[i : i + 1]) for i in range(3)]
    np.testing.assert_array_equal(one.batch(numbers).inputs, np.concatenate([batch.inputs for batch in alone]))
    shifted = [border + 14 * row for row, batch in enumerate(alone) for border in batch.pieces[:-1].tolist()]
    assert one.batch(numbers).pieces.tolist() == [*shifted, 3 * 14]
    for row, places in zip(one.batch(numbers).inputs, one.locate(numbers), strict=True):
        tokens = [token for place in places for token in range(place.token, place.token + place.tokens)]
        assert row[: len(tokens)].tolist() == tokens and places[0].path == str(dataset.path)


def test_the_plan_is_made_once_and_is_the_same_anywhere(
    make: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    dataset = built(make, tmp_path / "set", [5, 7, 11, 2, 3, 13, 1], 17, True)
    first = open_plan(dataset, 8, [tmp_path / "a"], silent)
    elsewhere = open_plan(dataset, 8, [tmp_path / "b"], silent)
    assert first.summary.identity == elsewhere.summary.identity
    assert open_plan(dataset, 9, [tmp_path / "a"], silent).summary.identity != first.summary.identity
    monkeypatch.setattr(packing_plan, "_make", None)
    assert open_plan(dataset, 8, [tmp_path / "c", tmp_path / "a"], silent).path == first.path


def test_processes_that_ask_at_once_make_it_once(
    make: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    dataset = built(make, tmp_path / "set", [5, 7, 11, 2, 3, 13, 1], 17, True)
    write, written = packing_plan._write, []

    def slowly(*arguments: Any) -> packing_plan.Summary:
        written.append(1)
        time.sleep(0.3)
        return write(*arguments)

    monkeypatch.setattr(packing_plan, "_write", slowly)
    with ThreadPoolExecutor(3) as pool:
        plans = list(pool.map(lambda _: open_plan(dataset, 8, [tmp_path / "a"], silent), range(3)))
    assert len(written) == 1 and len({plan.summary.identity for plan in plans}) == 1


def test_plans_of_what_a_dataset_was_before_are_removed(make: SimpleNamespace, tmp_path: Path):
    home = tmp_path / "set"
    home.mkdir()
    places = cache_places(home, tmp_path)
    old = [open_plan(built(make, home, [5, 7, 11], 17, True), length, places, silent).path for length in (8, 9)]
    assert all(path.is_dir() for path in old)
    new = open_plan(built(make, home, [5, 7, 13], 17, True), 8, places, silent).path
    assert [path for path in (home / ".plans").iterdir() if path.is_dir()] == [new]


@pytest.mark.parametrize("damage", ["plan.json", "pieces.bin", "rows.bin"])
def test_a_damaged_plan_is_made_again(make: SimpleNamespace, tmp_path: Path, damage: str):
    dataset = built(make, tmp_path / "set", [5, 7, 11, 2, 3, 13, 1], 17, True)
    plan = open_plan(dataset, 8, [tmp_path / "a"], silent)
    file = plan.path / damage
    whole = file.read_bytes()
    file.write_bytes(whole[:-3])
    assert open_plan(dataset, 8, [tmp_path / "a"], silent).summary == plan.summary
    assert file.read_bytes() == whole


def test_a_full_disk_leaves_nothing_behind(make: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    dataset = built(make, tmp_path / "set", [5, 7, 11], 17, True)
    monkeypatch.setenv("MATECONV_FAILPOINT", "plan.written:1:raise=ENOSPC")
    with pytest.raises(OSError, match="No space") as caught:
        open_plan(dataset, 8, [tmp_path / "a"], silent)
    assert str(tmp_path / "a") in str(caught.value.filename)
    assert [entry.suffix for entry in (tmp_path / "a").iterdir()] == [".lock"]


def test_what_a_killed_build_left_is_removed(make: SimpleNamespace, tmp_path: Path):
    dataset = built(make, tmp_path / "set", [5, 7, 11], 17, True)
    plan = open_plan(dataset, 8, [tmp_path / "a"], silent)
    left = plan.path.rename(plan.path.parent / f".tmp-{plan.path.name}-1-2")
    again = open_plan(dataset, 8, [tmp_path / "a"], silent)
    assert again.path == plan.path and not left.exists()


def test_only_plans_of_what_a_dataset_was_before_are_removed(make: SimpleNamespace, tmp_path: Path):
    """The plan of joined datasets lies beside that of the first of them, and neither is in the other's way."""
    home = tmp_path / "set" / ".plans"
    alone = built(make, tmp_path / "set", [5, 7, 11, 2], 17, True)
    joined = Dataset.join([alone, built(make, tmp_path / "other", [3, 9, 4], 17, True)])
    made = {open_plan(dataset, length, [home], silent).path for dataset in (joined, alone, joined) for length in (8, 9)}
    assert len(made) == 4 and all(path.is_dir() for path in made)
    unfinished = home / ".tmp-0123-4-5"  # of another process, which is about to name it
    shutil.copytree(min(made), unfinished)
    shutil.rmtree(tmp_path / "set" / "train")
    after = built(make, tmp_path / "set", [5, 7, 11, 2, 8], 17, True)
    new = open_plan(after, 8, [home], silent).path
    assert {path for path in home.iterdir() if path.is_dir()} == {new, unfinished}


def test_progress_is_reported(make: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packing_plan, "REPORT_SECONDS", -1.0)
    dataset = built(make, tmp_path / "set", [5, 7, 11, 13], 12, True)
    shares: list[float] = []
    open_plan(dataset, 8, [tmp_path / "a"], shares.append)
    assert len(shares) > 1 and shares == sorted(shares) and shares[0] == 0 and shares[-1] <= 1


def test_memory_does_not_grow_with_the_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The plan of 400,000 documents takes 4.8 MB and more; they are packed a few thousand at a time."""
    monkeypatch.setattr(cutting, "DOCUMENTS_AT_ONCE", 5000)
    lengths = np.tile(np.array([2, 3, 5, 7, 11, 41], np.int32), 70_000)
    writer = SplitWriter(tmp_path / "train", np.dtype("uint16"), 10**9)
    writer.append(
        np.zeros(lengths.sum(), "uint16"), lengths, np.zeros(len(lengths), RECORD), np.ones(len(lengths), int)
    )
    dataset = Dataset.open(tmp_path / "train" / f"{writer.finish().shards[0].name}.bin")
    tracemalloc.start()
    try:
        plan = open_plan(dataset, 16, [tmp_path / "plans"], silent)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert plan.summary.pieces >= 420_000 and peak < 3_000_000


def test_places(tmp_path: Path):
    dataset, out = tmp_path / "set", tmp_path / "out"
    dataset.mkdir()
    assert cache_places(dataset, out) == [dataset / ".plans", out / ".plans"]
    assert cache_places(tmp_path / "train.bin", out)[0] == tmp_path / ".plans"
    assert first_writable(cache_places(dataset, out)) == dataset / ".plans"
    (tmp_path / "file").write_text("")
    blocked = tmp_path / "file" / ".plans"
    assert first_writable([blocked, out / ".plans"]) == out / ".plans"
    with pytest.raises(UserError, match="--out_dir"):
        first_writable([blocked])


def test_a_plan_names_what_it_was_made_for(make: SimpleNamespace, tmp_path: Path):
    dataset = built(make, tmp_path / "set", [5, 7, 11], 17, True)
    path = open_plan(dataset, 8, [tmp_path / "a"], silent).path
    content = json.loads((path / "plan.json").read_text())
    assert content["dataset"] == dataset.identity and content["rows"] == Plan(path).summary.rows
