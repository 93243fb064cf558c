"""Batches for the loop: the samples of each step, as tensors, prepared by a thread ahead of the model."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import TracebackType

import numpy as np
import torch

from foundation.errors import UserError
from shards.samples import Samples
from shards.token_stream import PackedBatch

IGNORED = -100
"""A target with this value is not predicted."""
FEWEST = 64
"""Entries of the shortest tensor that is filled up to a power of two."""
Make = Callable[[PackedBatch, np.ndarray], "Microbatch"]
"""Makes the tensors of packed samples with these global numbers (see `training.tasks.base.Task.microbatch`)."""


@dataclass(frozen=True)
class Microbatch:
    """What one forward pass takes: tensors by the names that the task's loss module knows them by, how many terms each
    of its losses sums up, and how many tokens were read, padding left out."""

    tensors: dict[str, torch.Tensor]
    predicted: tuple[int, ...]
    tokens: int

    def to(self, device: torch.device) -> dict[str, torch.Tensor]:
        """The tensors on `device`; from pinned memory the copy does not wait.

        On MPS such a copy may read pageable memory that is another tensor's by then (pytorch issue 189690).
        """
        return {name: tensor.to(device, non_blocking=device.type == "cuda") for name, tensor in self.tensors.items()}

    def pinned(self) -> Microbatch:
        """The same in memory from which a GPU copies at the bus's full speed."""
        return replace(self, tensors={name: tensor.pin_memory() for name, tensor in self.tensors.items()})


@dataclass(frozen=True)
class BatchPlan:
    """Which samples belong to which step, rank and microstep.

    Step k of a stretch that starts at `first_sample` takes samples [first_sample + k*G, first_sample +
    (k+1)*G), G = accumulation * ranks * batch_size, microstep by microstep and within it rank by rank: the
    samples of a step do not depend on how it is split.
    """

    batch_size: int
    accumulation_steps: int
    ranks: int = 1
    rank: int = 0

    @property
    def global_batch(self) -> int:
        """Samples in one optimizer step, over all ranks."""
        return self.share * self.ranks

    @property
    def share(self) -> int:
        """Samples of one rank in one optimizer step."""
        return self.batch_size * self.accumulation_steps

    def sizes(self, most: int | None = None) -> list[int]:
        """The microbatches of at most `most` samples that the share can be cut into, ascending."""
        return [size for size in range(1, (self.share if most is None else most) + 1) if self.share % size == 0]

    def with_size(self, size: int) -> BatchPlan:
        """The same samples a step in microbatches of `size`, one of `sizes()`."""
        assert self.share % size == 0
        return replace(self, batch_size=size, accumulation_steps=self.share // size)

    def smaller(self) -> BatchPlan | None:
        """The same samples a step in microbatches of at most half the size; None when they hold one sample already."""
        sizes = self.sizes(most=self.batch_size // 2)
        return self.with_size(sizes[-1]) if sizes else None

    def sample_numbers(self, first_sample: int, microstep: int) -> np.ndarray:
        """This rank's samples (B,) int64 of one microstep in the step that starts at `first_sample`."""
        start = first_sample + (microstep * self.ranks + self.rank) * self.batch_size
        return np.arange(start, start + self.batch_size, dtype=np.int64)


def check_inside(ids: np.ndarray, vocab_size: int, where: str) -> None:
    """`UserError` for a token id outside the vocabulary, naming `where` it came from."""
    highest = int(ids.max())
    if highest >= vocab_size:
        raise UserError(
            f"{where}: token id {highest} is outside the tokenizer's vocabulary of {vocab_size}; "
            "give the tokenizer that made these tokens with --tokenizer_path"
        )


def borders(segments: np.ndarray) -> torch.Tensor:
    """The borders of pieces (int32) with the last one repeated up to a power of two: compiled code sees few shapes."""
    return padded(segments, segments[-1])


def padded(values: np.ndarray, fill: int) -> torch.Tensor:
    """`values` (n,) and so many times `fill` behind them that their number is a power of two, 64 at least."""
    size = max(FEWEST, 1 << (len(values) - 1).bit_length())
    return torch.from_numpy(np.pad(values, (0, size - len(values)), constant_values=fill))


class BatchStream:
    """Context manager and iterator over the microbatches of the steps from `first_sample` on, `steps` of
    them.

    One thread builds at most `ahead` steps in advance. `waited` and `built` are the seconds that the loop
    waited for it and that it worked.
    """

    def __init__(
        self,
        samples: Samples,
        plan: BatchPlan,
        first_sample: int,
        steps: int,
        make: Make,
        *,
        ahead: int,
        pin: bool,
    ) -> None:
        self.waited = 0.0
        self.built = 0.0
        self._samples, self._plan = samples, plan
        self._first_sample, self._steps = first_sample, steps
        self._make, self._pin = make, pin
        self._ready: queue.Queue[list[Microbatch] | BaseException] = queue.Queue(maxsize=ahead)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)

    def __enter__(self) -> BatchStream:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def __iter__(self) -> Iterator[list[Microbatch]]:
        for _ in range(self._steps):
            began = time.perf_counter()
            ready = self._ready.get()
            self.waited += time.perf_counter() - began
            if isinstance(ready, BaseException):
                raise ready
            yield ready

    def _work(self) -> None:
        try:
            for step in range(self._steps):
                first = self._first_sample + step * self._plan.global_batch
                began = time.thread_time()
                batches = [self._microbatch(first, micro) for micro in range(self._plan.accumulation_steps)]
                self.built += time.thread_time() - began
                if not self._put(batches):
                    return
        except BaseException as error:  # handed to the loop, which raises it
            self._put(error)

    def _microbatch(self, first_sample: int, microstep: int) -> Microbatch:
        numbers = self._plan.sample_numbers(first_sample, microstep)
        batch = self._make(self._samples.batch(numbers), numbers)
        return batch.pinned() if self._pin else batch

    def _put(self, item: list[Microbatch] | BaseException) -> bool:
        """Wait for room; False when the loop has gone away."""
        while not self._stopped.is_set():
            try:
                self._ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False
