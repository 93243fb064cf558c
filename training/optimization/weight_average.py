"""The exponential moving average of the weights (EMA): kept beside them, exchanged with them for a validation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

WARMUP_NUMERATOR, WARMUP_DENOMINATOR = 1, 10


class WeightAverage:
    """Average of a model's parameters over its optimizer steps (Polyak & Juditsky 1992, exponentially weighted).

    After update t (counted from 0) the average is decay_t * average + (1 - decay_t) * weights, with decay_t =
    min(decay, (1 + t) / (10 + t)), so that the initial weights are soon forgotten (TensorFlow's
    ExponentialMovingAverage). Skipped steps make no update. The average is float32 at least, lies where the
    parameters lie, and is split over ranks as they are.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self._live = {name: parameter.detach() for name, parameter in model.named_parameters()}
        self.weights = {name: _wide(tensor).clone() for name, tensor in self._live.items()}
        """Name -> average, shaped and placed like the parameter."""

    def restart(self) -> None:
        """Let the average begin with the weights as they are."""
        self.updates = 0
        for name, tensor in self._live.items():
            self.weights[name].copy_(tensor)

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after an optimizer step. One pass over both, no wait for the device."""
        decay = min(self.decay, (WARMUP_NUMERATOR + self.updates) / (WARMUP_DENOMINATOR + self.updates))
        live = [_wide(tensor) for tensor in self._live.values()]
        torch._foreach_lerp_(list(self.weights.values()), live, 1 - decay)
        self.updates += 1

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model computes with the average; afterwards its weights are what they were, bit for bit.

        Values are exchanged, not tensors: compiled code and other holders of the parameters see them.
        """
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def state(self, weights: Mapping[str, Tensor]) -> dict[str, Any]:
        """What a checkpoint holds; `weights` are the whole ones by name."""
        return {"updates": self.updates, "weights": dict(weights)}

    def _exchange(self) -> None:
        """All weights, or none where memory runs out on the way."""
        exchanged: list[str] = []
        try:
            for name in self._live:
                self._exchange_one(name)
                exchanged.append(name)
        except BaseException:
            for name in exchanged:
                self._exchange_one(name)
            raise

    @torch.no_grad()
    def _exchange_one(self, name: str) -> None:
        live, average = self._live[name], self.weights[name]
        kept = live.clone()
        live.copy_(average)
        average.copy_(kept)


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
