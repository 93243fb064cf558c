"""Contenders that take turns, each in a process of its own: its own memory and settings, as their users run them."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from benchmarks.contenders import contender, random_batch, timed_steps
from benchmarks.train_models import Shape, parameters_of
from training.devices.host_memory import keep_freed_memory

BATCHES = 4


@dataclass(frozen=True)
class Entry:
    """What a process is to train. `threads` None is torch's own choice."""

    name: str
    mode: str
    shape: Shape
    rows: int
    nanogpt: Path | None
    threads: int | None


@dataclass
class Player:
    """A contender in its process; a context manager that ends it."""

    entry: Entry
    seconds: list[float] = field(default_factory=list)
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
        """One step on batch `number` of those that all processes make from the same seed; others wait meanwhile."""
        self._pipe.send(number)
        seconds, self.loss = self._pipe.recv()
        if timed:
            self.seconds.append(seconds)


def _play(pipe: Connection, entry: Entry) -> None:
    device = torch.device("cpu")
    if entry.threads:
        torch.set_num_threads(entry.threads)
    if entry.name == "ours":
        keep_freed_memory(device)  # as train.py does
    one = contender(entry.name, entry.mode, entry.shape, entry.nanogpt, device)
    torch.manual_seed(1)
    batches = [random_batch(entry.shape, entry.rows, device) for _ in range(BATCHES)]
    pipe.send(parameters_of(one.model))
    while True:
        try:
            number = pipe.recv()
        except EOFError:
            return
        seconds = timed_steps(one, [batches[number % BATCHES]], 1, device)
        pipe.send((seconds[0], one.loss))
