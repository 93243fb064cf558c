"""One optimizer step on throw-away state: does it fit, how long does it take. Afterwards nothing has changed."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch

from training.batching.batches import Microbatch
from training.devices.distributed import local_part
from training.devices.free_memory import file_pages, resident
from training.saving.snapshot import Snapshot
from training.step import Stepper

SHORT = 5.0
"""Seconds; a first pass that took longer is not repeated for the sake of a better figure."""


@dataclass(frozen=True)
class Trial:
    """Seconds of a whole optimizer step, and the bytes that the process had at most."""

    seconds: float
    memory: int


class Untouched:
    """Context manager: the run's weights, optimizer states, loss scale and random streams are, bit for bit, what they
    were. Copies lie in the machine's memory, so that the device has what training leaves it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._model, self._optimizers = snapshot.model, snapshot.optimizers
        self._precision, self._device = snapshot.precision, snapshot.precision.device

    def __enter__(self) -> Untouched:
        model = self._model
        self._weights = [(local_part(t), _copy(t)) for t in (*model.parameters(), *model.buffers())]
        self._training = model.training
        self._states = [
            {
                parameter: {key: _copy(value) for key, value in state.items()}
                for parameter, state in member.state.items()
            }
            for member in self._optimizers.members.values()
        ]
        self._rates = [group["lr"] for group in self._optimizers.groups()]
        self._scale = self._precision.scaler.state_dict()
        self._random = torch.get_rng_state()
        self._random_there = torch.cuda.get_rng_state(self._device) if self._device.type == "cuda" else None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with torch.no_grad():
            for tensor, saved in self._weights:
                tensor.copy_(saved)
            for member, states in zip(self._optimizers.members.values(), self._states, strict=True):
                self._put_back(member, states)
        for group, rate in zip(self._optimizers.groups(), self._rates, strict=True):
            group["lr"] = rate
        self._optimizers.zero_grad()
        self._precision.set_scale(self._scale)
        self._model.train(self._training)
        torch.set_rng_state(self._random)
        if self._random_there is not None:
            torch.cuda.set_rng_state(self._random_there, self._device)

    @staticmethod
    def _put_back(member: torch.optim.Optimizer, states: dict[torch.Tensor, dict[str, Any]]) -> None:
        for parameter in list(member.state):
            if parameter not in states:
                del member.state[parameter]
        for parameter, saved in states.items():
            state = member.state[parameter]
            for key, value in saved.items():
                if isinstance(value, torch.Tensor):
                    local_part(state[key]).copy_(value)
                else:
                    state[key] = value


def _copy(value: Any) -> Any:
    return local_part(value.detach()).to("cpu", copy=True) if isinstance(value, torch.Tensor) else value


def try_step(
    stepper: Stepper, snapshot: Snapshot, batches: Sequence[Microbatch], accumulation: int, rate: float
) -> Trial:
    """Run one step over `batches`, the first microsteps of a step of `accumulation`. Every rank calls it.

    The first pass compiles and fills caches; a second gives the time, unless a plain first one took long. What runs
    out of memory raises as it would in the loop, with everything put back.
    """
    device = snapshot.precision.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with Untouched(snapshot):
        seconds = _timed(stepper, batches, rate, device)
        if seconds < SHORT or device.type == "cuda" or stepper.compiles:
            seconds = _timed(stepper, batches, rate, device)
    return Trial(seconds * accumulation / len(batches), _peak_memory(device))


def _timed(stepper: Stepper, batches: Sequence[Microbatch], rate: float, device: torch.device) -> float:
    began = time.perf_counter()
    stepper.run(batches, rate, lambda: False)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    if device.type == "mps":
        return int(torch.mps.driver_allocated_memory())
    try:
        import resource  # Windows has none
    except ImportError:
        return resident()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else max(resident(), peak * 1024 - file_pages())
