"""The benchmark of encoders: equal work for both sides, real tokens counted alike, figures that follow the formula."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest
import torch

from benchmarks import encoder_batches, encoder_rates, encoder_step
from benchmarks.encoder_batches import open_task, packed, padded
from benchmarks.encoder_models import EncoderShape
from benchmarks.encoder_step import EncoderEntry, shape_of
from foundation.errors import UserError
from shards.dataset import Dataset

LENGTH, ROWS = 29, 5
TINY = EncoderShape(layers=2, heads=2, width=16, length=LENGTH)


def test_padded_batches_hold_the_texts(dataset: Path) -> None:
    task = open_task(dataset, LENGTH)
    train, frame = Dataset.open(dataset), task.frame
    ends = train.terminator_length
    texts = {tuple(train.document(n)[: min(LENGTH - 2, len(train.document(n)) - ends)]) for n in range(train.documents)}
    for grouped in (False, True):
        for batch in padded(task, ROWS, 3, grouped):
            ids, seen, labels = (batch.tensors[name] for name in ("input_ids", "attention_mask", "labels"))
            assert batch.real == seen.sum() and batch.masked == (labels != -100).sum() and batch.places == ids.numel()
            assert ids.shape[1] == (seen.sum(1).max() if grouped else LENGTH)
            whole = torch.where(labels == -100, ids, labels)
            for row, real in zip(whole, seen.sum(1), strict=True):
                assert (row[0], row[real - 1]) == (frame.cls, frame.sep) and (row[real:] == frame.pad).all()
                assert tuple(row[1 : real - 1].tolist()) in texts


def test_grouped_batches_pad_less_and_packed_ones_least(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_batches, "GROUPED", 8)
    task = open_task(dataset, 200)

    def share(batches: list[encoder_batches.Batch]) -> float:
        return sum(batch.real for batch in batches) / sum(batch.places for batch in batches)

    plain, grouped, dense = padded(task, 4, 8, False), padded(task, 4, 8, True), packed(task, 2, 3)
    assert share(plain) < share(grouped) < 1 and share(plain) < share(dense) <= 1
    pad = task.frame.pad
    assert [batch.real for batch in dense] == [int((batch.tensors["inputs"] != pad).sum()) for batch in dense]


@pytest.mark.parametrize(("name", "attention"), [("ours", "pieces"), ("transformers", "sdpa")])
def test_both_learn_from_their_batches(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, name: str, attention: str
) -> None:
    monkeypatch.setitem(encoder_step.RECIPES, "256", LENGTH)
    entry = EncoderEntry(name, "eager-bfloat16", attention, "256", TINY, ROWS, dataset, None)
    one, work = entry.ready(torch.device("cpu"))
    losses = [one.step(*work[0][0]).item() for _ in range(9)]
    vocab_size = open_task(dataset, LENGTH).data.vocab_size
    assert losses[0] == pytest.approx(torch.tensor(float(vocab_size)).log().item(), abs=0.3) and losses[-1] < losses[0]
    (batch,), tokens = work[0]
    assert tokens == batch.real


def test_rates_follow_the_formula(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(encoder_rates, "MODE", "eager-bfloat16")
    monkeypatch.setattr(torch.compiler, "reset", lambda: None)  # imports the compiler, for seconds
    options = {"dataset": dataset, "peak_tflops": 1e-4, "architectures": ["bert"], "warmup": 1, "steps": 2}
    encoder_rates.rate(TINY, argparse.Namespace(device="cpu", rows=ROWS, **options))
    line = capsys.readouterr().out.splitlines()[-1]
    found = re.search(r"5 x 29: ([\d,]+) real tokens/s .*, MFU ([\d.]+)%, ([\d.]+)% real", line)
    assert found, line
    task = open_task(dataset, LENGTH)
    batches = packed(task, ROWS, encoder_rates.BATCHES)
    masked = sum(batch.masked for batch in batches) / sum(batch.real for batch in batches)
    after_attention = 9 * 16 * 16  # of the last block, which computes masked positions alone
    matmul = 12 * 16 * 16 + 3 * 16 * 16 + masked * (after_attention + 16 * 16 + 16 * task.data.vocab_size)
    flops = 6 * matmul + 12 * 2 * 16 * task.attended_length()
    assert float(found[2]) == pytest.approx(100 * flops * float(found[1].replace(",", "")) / 1e8, rel=0.01)


def test_rows_double_as_long_as_they_pay_and_fit(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[int] = []
    limits = {"memory": 100}

    class Stub:
        def __init__(self, rows: int) -> None:
            self.rows = rows

        def seconds(self, *_: object) -> float:
            return 1 / self.rows if self.rows <= 32 else 1 / 32

    def ready(_: str, shape: object, task: object, rows: int, *rest: object) -> Stub | None:
        made.append(rows)
        return Stub(rows) if rows <= limits["memory"] else None

    monkeypatch.setattr(encoder_rates, "_ready", ready)
    monkeypatch.setattr(torch.compiler, "reset", lambda: None)  # imports the compiler, for seconds
    monkeypatch.setattr(encoder_rates, "FIRST_TOKENS", 8 * LENGTH + 3)
    arguments = argparse.Namespace(rows=None)

    def best() -> int:
        found = encoder_rates._best("bert", TINY, open_task(dataset, LENGTH), arguments, torch.device("cpu"))
        assert isinstance(found, Stub)
        return found.rows

    assert best() == 32 and max(made) == 64
    limits["memory"] = 20
    assert best() == 16
    limits["memory"] = 7
    with pytest.raises(UserError, match="memory of cpu is too small for so many rows of 29"):
        best()
    made.clear()
    limits["memory"], arguments.rows = 10**6, 10**6
    assert best() == 10**6 and made == [10**6], "what is asked for is taken, however much that is"


def test_shapes() -> None:
    assert shape_of("12x12x768", 512) == EncoderShape(12, 12, 768, 512)
    with pytest.raises(UserError, match="LAYERSxHEADSxWIDTH"):
        shape_of("12x768", 512)


@pytest.mark.slow
def test_they_take_turns(dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--shape", "1x1x8", "--recipes", "256", "--modes", "eager-bfloat16", "--attention", "sdpa"]
    encoder_step.main(["--dataset", str(dataset), *options, "--rows", "2", "--warmup", "1", "--steps", "2"])
    printed = capsys.readouterr().out
    own, theirs = (float(rate.replace(",", "")) for rate in re.findall(r"([\d,]+) real tokens/s", printed))
    ratio = re.search(r"ours is ([\d.]+) times", printed)
    assert ratio and float(ratio[1]) == pytest.approx(own / theirs, rel=0.02, abs=0.01)
