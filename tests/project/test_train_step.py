"""The benchmark of training steps: what it runs, how it finds the microbatch, that its figures follow the formula."""

from __future__ import annotations

import math
import re

import pytest
import torch

from benchmarks import train_rates, train_step
from benchmarks.contenders import Contender
from benchmarks.train_rates import Rates, Work, size_of, work
from foundation.errors import UserError

TINY = "2x2x16x101x24"
LINE = re.compile(r"(\S+(?: \+ masks)?) +[\d.]+ M, (\d+) x 24: +([\d,]+) tokens/s .*, MFU ([\d.]+)%")


def test_sizes_have_the_parameters_that_name_them() -> None:
    assert [round(_parameters(name) / 1e6, 1) for name in ("124m", "15m")] == [123.6, 14.5]
    with pytest.raises(UserError, match="--sizes 2x3: give 124m, 15m or LAYERS"):
        size_of("2x3")


def _parameters(name: str) -> int:
    from model.costs import parameters

    shape = size_of(name)
    return parameters(shape.config(), shape.vocab_size)


def test_documents_of_the_batches_are_what_attention_sees() -> None:
    task = work(size_of("2x2x16x101x700"), 5, torch.device("cpu"), documents=True)
    lengths, seen = [], 0.0
    for *_, segments in task.batches:
        pieces = segments.diff()
        assert int(pieces.sum()) == 5 * 700 and set(range(0, 3501, 700)) <= set(segments.tolist())
        lengths.append(len(segments))
        seen += sum(n * (n + 1) / 2 for n in pieces.tolist()) / 3500
    assert task.attended == pytest.approx(seen / len(lengths)) and task.attended < 350
    assert len(set(lengths)) == 1  # one shape: compiled code is made once
    assert work(size_of(TINY), 5, torch.device("cpu"), documents=False).attended == 12.5


@pytest.mark.slow
def test_models_take_turns_in_processes_of_their_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_step, "SMALL", size_of(TINY))
    train_step.main(["--models", "gpt2", "--modes", "eager-float32", "--rows", "3", "--steps", "2", "--warmup", "1"])
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[1] for line in lines] == ["ours", "gpt2"] and "ours is" in lines[1]
    losses = [float(re.search(r"loss ([\d.]+)", line)[1]) for line in lines]  # type: ignore[index]
    assert losses == pytest.approx([math.log(101)] * 2, abs=0.5)  # an untrained model guesses


def test_rates_of_a_tiny_size(capsys: pytest.CaptureFixture[str]) -> None:
    _run("--rows", "3", "--modes", "eager-float32", "--peak_tflops", "0.001")
    _check(capsys.readouterr().out, rows=3)


@pytest.mark.gpu
def test_rates_on_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    _run("--device", "cuda", "--peak_tflops", "1")
    printed = capsys.readouterr().out
    assert re.search(r"\d+ rows: [\d,]+ tokens/s, [\d.]+ GB", printed)
    _check(printed, rows=None, peak=1e12)


def _run(*options: str) -> None:
    train_step.main(["--sizes", TINY, "--models", "--steps", "2", "--warmup", "1", *options])


def _check(printed: str, rows: int | None, peak: float = 1e9) -> None:
    lines = LINE.findall(printed)
    assert [line[0] for line in lines] == ["ours", "ours + masks", "train.py", "train.py + masks"]
    matmul = 2 * (4 * 16 * 16 + 3 * 16 * 64) + 101 * 16
    for name, seen, speed, share in lines:
        assert rows is None or int(seen) == rows
        if not name.endswith("masks"):
            flops = 6 * matmul + 12 * 2 * 16 * 12.5
            assert float(share) == pytest.approx(100 * flops * float(speed.replace(",", "")) / peak, rel=0.01, abs=0.06)
    assert printed.count("document masks make a token") == 2


def test_the_microbatch_is_the_largest_that_pays_and_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step costs 1 ms and 1 ms a row up to eight rows, 2 ms each from then on; memory ends over `fits[-1]`."""
    tried: list[int] = []
    fits: list[int] = []

    def steps(one: Contender, batches: list[tuple[torch.Tensor, ...]], count: int, device: torch.device) -> list[float]:
        rows = len(batches[0][0])
        if rows > fits[-1]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        tried.append(rows)
        return [0.001 * (1 + rows + max(0, rows - 8))] * count

    def small(shape: object, rows: int, device: torch.device, documents: bool) -> Work:
        return Work([(torch.zeros(rows, 24),)], 12.5)

    monkeypatch.setattr(train_rates, "timed_steps", steps)
    monkeypatch.setattr(train_rates, "work", small)
    monkeypatch.setattr(train_rates, "FIRST_TOKENS", {"cpu": 24})
    monkeypatch.setattr(torch.compiler, "reset", lambda: None)  # imports the compiler, for seconds
    rates = _rates()
    for memory, best in ((100, 8), (7, 4), (2, 2)):
        fits.append(memory)
        assert rates._microbatch() == best
    fits.append(0)
    with pytest.raises(UserError, match="not even one row fits"):
        rates._microbatch()
    assert max(tried) == 16


def _rates() -> Rates:
    import argparse

    options = argparse.Namespace(device="cpu", peak_tflops=None, rows=None, warmup=1, steps=1, nanogpt=None)
    return Rates(TINY, "eager-float32", options)
