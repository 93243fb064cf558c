"""Contenders that take turns, each in a process of its own: its own memory and settings, as their users run them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import torch

from benchmarks.contenders import Contender, contender, random_batch, timed_steps
from benchmarks.train_models import Shape, parameters_of
from training.devices.host_memory import keep_freed_memory

BATCHES = 4
Work = tuple[Sequence[Any], int]
"""What a step is called with, and how many tokens it reads, padding left out."""


class Entry(Protocol):
    """What a process is to train; it travels there pickled."""

    @property
    def name(self) -> str:
        """The contender; ours has the memory settings of train.py."""
        ...

    @property
    def threads(self) -> int | None:
        """Threads of torch; None is its own choice."""
        ...

    def ready(self, device: torch.device) -> tuple[Contender, Sequence[Work]]:
        """The contender and the batches that its steps take in turn."""
        ...


@dataclass(frozen=True)
class DecoderEntry:
    """A causal model on random tokens."""

    name: str
    mode: str
    shape: Shape
    rows: int
    nanogpt: Path | None
    threads: int | None

    def ready(self, device: torch.device) -> tuple[Contender, Sequence[Work]]:
        """The model that `train_models.build` makes, and batches that are the same for all."""
        one = contender(self.name, self.mode, self.shape, self.nanogpt, device)
        torch.manual_seed(1)
        tokens = self.rows * self.shape.length
        return one, [(random_batch(self.shape, self.rows, device), tokens) for _ in range(BATCHES)]


@dataclass
class Player:
    """A contender in its process; a context manager that ends it."""

    entry: Entry
    seconds: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    """Of the timed steps."""
    loss: float = 0.0
    parameters: int = 0

    def __enter__(self) -> Player:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_play, args=(theirs, self.entry), daemon=True)
        self._process.start()
        theirs.close()
        self.parameters = self._pipe.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.close()
        self._process.join(timeout=10)
        self._process.terminate()

    def turn(self, number: int, timed: bool) -> None:
        """One step on batch `number`, counted round and round; others wait meanwhile."""
        self._pipe.send(number)
        seconds, tokens, self.loss = self._pipe.recv()
        if timed:
            self.seconds.append(seconds)
            self.tokens.append(tokens)


def _play(pipe: Connection, entry: Entry) -> None:
    device = torch.device("cpu")
    if entry.threads:
        torch.set_num_threads(entry.threads)
    if entry.name == "ours":
        keep_freed_memory(device)  # as train.py does
    one, batches = entry.ready(device)
    pipe.send(parameters_of(one.model))
    while True:
        try:
            number = pipe.recv()
        except EOFError:
            return
        batch, tokens = batches[number % len(batches)]
        seconds = timed_steps(one, [batch], 1, device)
        pipe.send((seconds[0], tokens, one.loss))
