"""Conversations in rows: each whole, once an epoch, only counted tokens as targets; against spans written plainly."""

from __future__ import annotations

import tempfile
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import UserError
from shards.conversations import Conversations, CountedTargets, has_conversations
from shards.dataset import Dataset
from shards.documents import SPAN
from shards.manifest import Manifest
from shards.packing_plan import open_plan
from shards.planned import PlannedSamples, SequentialPlanned
from shards.token_stream import IGNORE, PackedBatch
from shards.writer import SplitWriter

T = 11
Spans = list[tuple[int, int]] | None
"""What counts of a document; None: it is no conversation."""
Piece = tuple[tuple[int, ...], tuple[int, ...]]
"""Inputs and targets."""


@st.composite
def documents(draw: st.DrawFn) -> list[tuple[int, Spans]]:
    """Lengths with the terminator, and spans."""
    found: list[tuple[int, Spans]] = []
    for length in draw(st.lists(st.integers(1, 26), min_size=1, max_size=12)):
        if draw(st.booleans()):
            found.append((length, None))
            continue
        # A conversation begins with a turn's opening token, which nobody says.
        cuts = sorted(draw(st.sets(st.integers(1, length - 1), max_size=6))) if length > 1 else []
        found.append((length, list(zip(cuts[::2], cuts[1::2], strict=False))))
    return found


def write(path: Path, make: SimpleNamespace, wanted: list[tuple[int, Spans]], shard_tokens: int) -> Dataset:
    lengths = [length for length, _ in wanted]
    writer = SplitWriter(path / "train", np.dtype("uint16"), shard_tokens, ("spans",))
    for number, (tokens, (length, spans)) in enumerate(zip(make.documents(lengths), wanted, strict=True)):
        rows = [] if spans is None else [(0, start, end) for start, end in spans or [(0, 0)]]
        size = np.array([length], np.int32)
        writer.append(tokens, size, make.records(1, number), size, {"spans": np.array(rows, SPAN)})
    make.dataset(path, lengths, shard_tokens)
    Manifest.load(path).model_copy(update={"splits": {"train": writer.finish()}}).save(path)
    return Dataset.open(path)


def plain(wanted: list[tuple[int, Spans]], with_text: bool) -> tuple[Counter[Piece], int]:
    """The pieces that rows must hold, and how many documents are longer than a row, from the definition: tokens count
    up through the stream."""
    found: Counter[Piece] = Counter()
    begin, longer, size = 0, 0, sum(length for length, _ in wanted)
    for length, spans in wanted:
        end = begin + length
        if spans:
            counted = {begin + place for first, stop in spans for place in range(first, stop)}
            inputs = list(range(begin, max(counted)))
            longer += len(inputs) > T
            if len(inputs) <= T:
                found[
                    tuple(inputs), tuple(t if t in counted else IGNORE for t in range(begin + 1, inputs[-1] + 2))
                ] += 1
        elif spans is None and with_text:
            first = max(begin - 1, 0)
            inputs = list(range(first, min(end - 1, size - 1)))
            longer += len(inputs) > T
            for place in range(0, len(inputs), T):
                cut = inputs[place : place + T]
                found[tuple(cut), tuple(token + 1 for token in cut)] += 1
        begin = end
    return found, longer


def pieces(batch: PackedBatch) -> Counter[Piece]:
    """What a batch holds; padding has no target and zeros."""
    inputs, targets, found = batch.inputs.ravel().tolist(), batch.next_tokens.ravel().tolist(), Counter[Piece]()
    filled = 0
    for start, stop in pairwise(batch.pieces.tolist()):
        piece = tuple(inputs[start:stop]), tuple(targets[start:stop])
        if set(piece[0]) == {0} and set(piece[1]) == {IGNORE} and not (start == 0 and stop == 1):
            continue
        found[piece] += 1
        filled += stop - start
    assert filled == batch.filled
    return found


@settings(max_examples=25, deadline=None)
@given(wanted=documents(), shard_tokens=st.sampled_from([20, 10**6]), with_text=st.booleans())
def test_an_epoch_holds_every_conversation_that_fits_once_and_counts_what_its_spans_do(
    make: SimpleNamespace, wanted: list[tuple[int, Spans]], shard_tokens: int, with_text: bool
) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        path = Path(name)
        dataset = write(path / "set", make, wanted, shard_tokens)
        assert has_conversations(dataset) == any(spans is not None for _, spans in wanted)
        expected, longer = plain(wanted, with_text)
        cutting = Conversations(plain_text=with_text)
        if not expected:
            with pytest.raises(UserError, match="no conversation"):
                open_plan(dataset, T, [path / "plans"], lambda share: None, cutting)
            return
        plan = open_plan(dataset, T, [path / "plans"], lambda share: None, cutting)
        samples = PlannedSamples(dataset, plan, 5, counted=CountedTargets(dataset))
        rows = samples.samples_per_epoch
        for epoch in range(2):
            assert pieces(samples.batch(np.arange(rows * epoch, rows * (epoch + 1)))) == expected
        in_order = SequentialPlanned(dataset, plan, counted=CountedTargets(dataset))
        found: Counter[Piece] = Counter()
        for first in range(0, len(in_order), 3):
            found += pieces(in_order.batch(first, 3))
        assert found == expected
        assert plan.summary.cut == longer


def test_other_ways_to_choose_are_other_plans(tmp_path: Path, make: SimpleNamespace) -> None:
    dataset = write(tmp_path / "set", make, [(9, [(2, 5)]), (8, None), (30, [(4, 20)])], 10**6)
    plans = [
        open_plan(dataset, T, [tmp_path / "plans"], lambda share: None, Conversations(text)) for text in (False, True)
    ]
    assert [plan.summary.pieces for plan in plans] == [1, 2] and [plan.summary.cut for plan in plans] == [1, 1]
    assert plans[0].summary.identity != plans[1].summary.identity and plans[0].path != plans[1].path
