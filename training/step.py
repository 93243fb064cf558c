"""One optimizer step: accumulate, agree, clip, and never let a bad gradient touch the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.batching.batches import Microbatch
from training.devices.precision import Precision
from training.devices.strategy import Strategy
from training.optimization.optimizers import Optimizers


class LossModule(nn.Module):
    """The model seen as a loss: `forward(inputs, targets, segments)` gives (summed nats, predicted count).

    DDP and torch.compile wrap a module's forward, and the model's own forward gives logits.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor, targets: Tensor, segments: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """inputs, targets (B, T) int64; `segments`, the borders of documents, where attention stops at them."""
        loss, count = self.model.loss(inputs, targets, segments)  # type: ignore[operator]
        return loss, count


@dataclass(frozen=True)
class StepResult:
    """What one optimizer step did. `loss` is in nats a predicted token, over all ranks and microsteps."""

    loss: float
    grad_norm: float
    predicted: int
    overflow: bool = False
    """The gradient was not finite because of float16's loss scale, which is now lower."""

    @property
    def skipped(self) -> bool:
        """Whether the weights and moments were left as they were."""
        return not (math.isfinite(self.loss) and math.isfinite(self.grad_norm))


class Stepper:
    """Runs optimizer steps on `module` (a LossModule, perhaps compiled and inside DDP)."""

    def __init__(
        self,
        module: nn.Module,
        optimizers: Optimizers,
        precision: Precision,
        strategy: Strategy,
        grad_clip: float | None,
    ) -> None:
        self.module = module
        self.optimizers = optimizers
        self.precision = precision
        self._strategy, self._world = strategy, strategy.world
        self._limit = grad_clip if grad_clip is not None else math.inf
        self._parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]

    def run(self, batches: Sequence[Microbatch], rate: float, interrupted: Callable[[], bool]) -> StepResult | None:
        """One step with learning rate `rate`; None when `interrupted` (asked by all ranks alike) before its
        end.

        Every microstep's summed loss is divided by the number of predicted tokens of the *whole* step, over
        all microsteps and ranks, so that the gradient is the mean over tokens however they are split.
        """
        predicted = self._world.total([sum(batch.predicted for batch in batches)])[0]
        if predicted == 0:
            raise AssertionError("a training step without a single predicted token")
        summed = self._accumulate(batches, predicted, interrupted)
        if summed is None:
            self.optimizers.zero_grad()
            return None
        scaler = self.precision.scaler
        self.optimizers.unscale(scaler)
        norm = self._strategy.clip(self._parameters, self._limit)
        loss, grad_norm = torch.stack([self._world.add_up(summed) / predicted, norm]).tolist()  # one wait a step
        overflow = math.isfinite(loss) and not math.isfinite(grad_norm) and self.precision.overflow_is_normal()
        result = StepResult(loss, grad_norm, predicted, overflow)
        if not result.skipped:
            self.optimizers.set_learning_rate(rate)
            self.optimizers.step(scaler)
        if scaler.is_enabled():
            scaler.update()
        self.optimizers.zero_grad()
        return result

    def _accumulate(
        self, batches: Sequence[Microbatch], predicted: int, interrupted: Callable[[], bool]
    ) -> Tensor | None:
        """Add up gradients; gives the summed loss of this rank (a scalar on the device)."""
        summed = torch.zeros((), device=self.precision.device)
        # DDP averages over ranks where the sum is wanted; float16 scales to keep small gradients
        # from vanishing.
        factor = self._world.size / predicted
        for number, batch in enumerate(batches):
            if interrupted():
                return None
            last = number == len(batches) - 1
            with self._strategy.microstep(self.module, last):
                with self.precision.autocast():
                    loss, _ = self.module(*batch.to(self.precision.device))
                self.precision.scaler.scale(loss * factor).backward()
            summed += loss.detach().float()
        return summed
