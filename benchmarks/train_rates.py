"""Tokens per second and share of the peak rate (MFU) of training steps, one GPU's model sizes one after the other.

For each size: our model without and with document masks, in a plain loop and in train.py's own step, beside others.
Axes: B rows, T tokens of a row.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.contenders import Contender, contender, dtype_of, random_batch, timed_steps, trainer
from benchmarks.train_models import Shape, parameters_of
from foundation.device import pick_device
from foundation.errors import UserError
from model.costs import flops_per_token
from model.documents import positions_within
from training.devices.out_of_memory import is_out_of_memory, release
from training.devices.peaks import peak_flops

# GPT-2's vocabulary of 50,257 has rows up to a multiple of 64, for all alike.
SIZES = {
    "124m": Shape(layers=12, heads=12, width=768, vocab_size=50_304, length=1024, key_heads=12, inner=2048),
    "15m": Shape(layers=8, heads=8, width=256, vocab_size=32_000, length=1024, key_heads=4, inner=768),
}
DOCUMENT = 300  # mean length of a document in tokens; web text and reviews have about as many
BATCHES, ROUNDS, TRIED_STEPS = 4, 3, 5
FIRST_TOKENS = {"cuda": 2**15, "mps": 2**12, "cpu": 2**8}  # of the microbatches tried
MOST_TOKENS = {"cuda": 2**17, "mps": 2**15, "cpu": 2**10}
GAIN = 1.02  # a microbatch twice as large that is not so much faster is not worth its memory


@dataclass(frozen=True)
class Work:
    """What one contender is given to do."""

    batches: Sequence[tuple[Tensor, ...]]
    attended: float
    """Tokens that a token attends to, on average."""

    @property
    def tokens(self) -> int:
        """Tokens of a step."""
        return self.batches[0][0].numel()


def size_of(name: str) -> Shape:
    """A size by name, or layers x heads x width x vocabulary x length, as in 2x4x32x512x64."""
    if name in SIZES:
        return SIZES[name]
    numbers = name.split("x")
    if len(numbers) != 5 or not all(number.isdigit() and int(number) > 0 for number in numbers):
        raise UserError(f"--sizes {name}: give {', '.join(SIZES)} or LAYERSxHEADSxWIDTHxVOCABULARYxLENGTH")
    layers, heads, width, vocabulary, length = map(int, numbers)
    return Shape(layers, heads, width, vocabulary, length, key_heads=heads, inner=64 * -(-8 * width // 192))


def work(shape: Shape, rows: int, device: torch.device, documents: bool) -> Work:
    """Random batches; with `documents` also the borders of random ones, of exponentially distributed length."""
    torch.manual_seed(1)
    plain = [random_batch(shape, rows, device) for _ in range(BATCHES)]
    if not documents:
        return Work(plain, (shape.length + 1) / 2)
    borders = [_borders(rows, shape.length) for _ in plain]
    most = 1 << max(len(each) for each in borders).bit_length()  # one shape for all: nothing is compiled twice
    segments = [torch.nn.functional.pad(each, (0, most - len(each)), value=rows * shape.length) for each in borders]
    attended = [1 + positions_within(each, rows, shape.length).double().mean().item() for each in segments]
    batches = [(*batch, each.to(device)) for batch, each in zip(plain, segments, strict=True)]
    return Work(batches, statistics.mean(attended))


def _borders(rows: int, length: int) -> Tensor:
    """Where pieces of documents begin in the flattened rows, and the end, int32."""
    gaps = torch.empty(2 + 4 * rows * length // DOCUMENT).exponential_(1 / DOCUMENT).ceil().long()
    cuts = gaps.cumsum(0)
    starts = torch.arange(0, rows * length + 1, length)
    borders: Tensor = torch.cat([cuts[cuts < rows * length], starts]).unique()  # ascending
    return borders.to(torch.int32)


class Rates:
    """Measures one size as the command line wants it and prints a line for each contender."""

    def __init__(self, name: str, mode: str, arguments: argparse.Namespace) -> None:
        self.name, self.mode, self.arguments = name, mode, arguments
        self.shape, self.device = size_of(name), pick_device(arguments.device)
        given = arguments.peak_tflops
        self.peak = peak_flops(self.device, dtype_of(mode)) if given is None else 1e12 * given

    def measure(self, rivals: Sequence[str]) -> None:
        """Find the microbatch, bring all to speed, let them take turns."""
        rows = self.arguments.rows or self._microbatch()
        entries = [("ours", False), ("ours", True), ("train.py", False), ("train.py", True)]
        entries += [(name, False) for name in rivals]
        ready = [(entry, *found) for entry in entries if (found := self._ready(*entry, rows)) is not None]
        for _ in range(ROUNDS):
            for _, one, task in ready:
                one.seconds += timed_steps(one, task.batches, self.arguments.steps, self.device)
        medians = {entry: self._tell(*entry, one, task) for entry, one, task in ready}
        for name in ("ours", "train.py"):
            if (name, False) in medians and (name, True) in medians:
                cost = medians[name, True] / medians[name, False] - 1
                print(f"{self.name:6} {name}: document masks make a token {100 * cost:+.1f}% dearer", flush=True)

    def _contender(self, name: str) -> Contender:
        if name == "train.py":
            return trainer(self.mode, self.shape, self.device)
        return contender(name, self.mode, self.shape, self.arguments.nanogpt, self.device)

    def _ready(self, name: str, documents: bool, rows: int) -> tuple[Contender, Work] | None:
        """A contender behind its first steps, with as many rows as it finds memory for; None: it does not run."""
        while rows:
            try:
                one, task = self._contender(name), work(self.shape, rows, self.device, documents)
                timed_steps(one, task.batches, self.arguments.warmup, self.device)
                return one, task
            except (RuntimeError, ImportError) as error:
                if not is_out_of_memory(error):
                    if name in ("ours", "train.py"):
                        raise
                    print(f"{self.name:6} {name}: fails ({str(error).strip().splitlines()[0]})", flush=True)
                    return None
            one = task = None  # type: ignore[assignment]
            rows //= 2
            release()
        print(f"{self.name:6} {name}: one row does not fit", flush=True)
        return None

    def _microbatch(self) -> int:
        """The largest number of rows that pays: it doubles as long as memory holds and tokens get cheaper."""
        kind, best, price = self.device.type, 0, float("inf")
        rows = max(1, FIRST_TOKENS[kind] // self.shape.length)
        while rows * self.shape.length <= MOST_TOKENS[kind] or not best:
            found = self._ready("ours", False, rows)
            if found is None:
                raise UserError(f"{self.name}: not even one row fits into the memory of {self.device}")
            one, task = found
            cost = statistics.median(timed_steps(one, task.batches, TRIED_STEPS, self.device)) / task.tokens
            fitted = len(task.batches[0][0])
            print(f"{self.name:6} {fitted} rows: {1 / cost:,.0f} tokens/s{self._memory()}", flush=True)
            del found, one, task
            torch.compiler.reset()
            release()
            if cost * GAIN > price or fitted <= best:
                return best
            best, price = fitted, cost
            if fitted < rows:
                return best
            rows *= 2
        return best

    def _memory(self) -> str:
        """The most memory in use since the last question, in words."""
        if self.device.type != "cuda":
            return ""
        most = torch.cuda.max_memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        return f", {most / 1e9:.1f} GB"

    def _tell(self, name: str, documents: bool, one: Contender, task: Work) -> float:
        """Print what was seen; gives the median of seconds a token."""
        median = statistics.median(one.seconds)
        slow, fast = task.tokens / max(one.seconds), task.tokens / min(one.seconds)
        flops = flops_per_token(self.shape.config(), self.shape.vocab_size, task.attended)
        share = "" if self.peak is None else f"MFU {100 * flops * task.tokens / median / self.peak:.1f}%, "
        print(
            f"{self.name:6} {name + (' + masks' if documents else ''):16} {parameters_of(one.model) / 1e6:6.1f} M, "
            f"{len(task.batches[0][0])} x {self.shape.length}: {task.tokens / median:11,.0f} tokens/s "
            f"({slow:,.0f} to {fast:,.0f}), {share}{1000 * median:.1f} ms a step, loss {one.loss:.3f}",
            flush=True,
        )
        return median / task.tokens
