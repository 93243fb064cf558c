"""One optimizer step: accumulate, agree, clip, and never let a bad gradient touch the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.batching.batches import Microbatch
from training.devices.compilation import first_line, switch_of
from training.devices.out_of_memory import is_out_of_memory
from training.devices.precision import Precision
from training.devices.strategy import Strategy
from training.optimization.optimizers import Optimizers
from training.watching.moments import Moments


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
    broken_moments: int = 0
    """Tensors of the optimizer's state that held a number that is not finite, over all ranks."""
    microsteps: tuple[float, ...] = ()
    """The loss of each microstep, over all ranks, in nats a predicted token."""

    @property
    def skipped(self) -> bool:
        """Whether the weights and moments were left as they were."""
        return self.broken_moments > 0 or not (math.isfinite(self.loss) and math.isfinite(self.grad_norm))


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
        self.moments = Moments(module, optimizers, strategy.world)
        self.moving = False
        """Whether an optimizer step has begun and not ended: after an error, some weights are moved and some not."""
        self._strategy, self._world = strategy, strategy.world
        self._limit = grad_clip if grad_clip is not None else math.inf
        self._parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._switch = switch_of(module)
        self._tried = self._all_plain = False

    def run(self, batches: Sequence[Microbatch], rate: float, interrupted: Callable[[], bool]) -> StepResult | None:
        """One step with learning rate `rate`; None when `interrupted` (asked by all ranks alike) before its
        end.

        Every microstep's summed loss is divided by the number of predicted tokens of the *whole* step, over
        all microsteps and ranks, so that the gradient is the mean over tokens however they are split.
        """
        self._try_compiled(batches[0])
        plain = int(self._switch is None or not self._switch.on)
        *counts, plain = self._world.total([*(batch.predicted for batch in batches), plain])
        if plain and not self._all_plain:
            self._all_plain = True
            reason = self._world.first_of(self._switch.reason if self._switch is not None else None)
            if self._switch is not None:
                self._switch.turn_off(reason or "another process does not compile")
        if sum(counts) == 0:
            raise AssertionError("a training step without a single predicted token")
        losses = self._accumulate(batches, sum(counts), interrupted)
        if losses is None:
            self.optimizers.zero_grad()
            return None
        scaler = self.precision.scaler
        self.optimizers.unscale(scaler)
        norm = self._strategy.clip(self._parameters, self._limit)
        result = self._judge(losses, counts, norm)
        if not result.skipped:
            self.optimizers.set_learning_rate(rate)
            self.moving = True
            self.optimizers.step(scaler)
            self.moving = False
        if scaler.is_enabled():
            scaler.update()
        self.optimizers.zero_grad()
        return result

    def forget(self) -> None:
        """Drop what an unfinished step left behind."""
        self.optimizers.zero_grad()

    def _accumulate(
        self, batches: Sequence[Microbatch], predicted: int, interrupted: Callable[[], bool]
    ) -> list[Tensor] | None:
        """Add up gradients; gives the summed loss of each microstep of this rank (scalars on the device)."""
        losses = []
        # DDP averages over ranks where the sum is wanted; float16 scales to keep small gradients
        # from vanishing.
        factor = self._world.size / predicted
        for number, batch in enumerate(batches):
            if interrupted():
                return None
            loss = self._microstep(batch, factor, last=number == len(batches) - 1)
            losses.append(loss.detach().to(torch.promote_types(loss.dtype, torch.float32)))
        return losses

    def _microstep(self, batch: Microbatch, factor: float, last: bool) -> Tensor:
        """Forward and backward; gives the summed loss."""
        with self._strategy.microstep(self.module, last):
            with self.precision.autocast():
                loss, _ = self.module(*batch.to(self.precision.device))
            self.precision.scaler.scale(loss * factor).backward()
        summed: Tensor = loss
        return summed

    def _try_compiled(self, batch: Microbatch) -> None:
        """Run compiled code for the first time by itself, forward and backward without a sum over ranks: should it
        fail, no process waits for the gradients of another, nothing has moved, and the step goes on uncompiled."""
        # Sharded weights are fetched from the other ranks within a pass: there is no trying without them.
        if self._tried or self._switch is None or not self._strategy.whole_model:
            return
        self._tried = True
        device, reason = self.precision.device, None
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            try:
                self._microstep(batch, 1.0, last=False)
            except Exception as error:  # compilers and what they make raise anything
                if is_out_of_memory(error):
                    raise
                reason = first_line(error)
        self.optimizers.zero_grad()
        if reason is not None:
            self._switch.turn_off(reason)

    def _judge(self, losses: Sequence[Tensor], counts: Sequence[int], norm: Tensor) -> StepResult:
        """What all ranks know of the step before it moves a weight: one sum over ranks and one wait for the device."""
        broken = self.moments.broken()
        zero = torch.zeros((), device=losses[0].device)
        local = torch.stack([*losses, zero if broken is None else broken.to(losses[0].dtype)])
        *summed, faults, grad_norm = torch.cat([self._world.add_up(local), norm.reshape(1)]).tolist()
        loss = sum(summed) / sum(counts)
        overflow = math.isfinite(loss) and not math.isfinite(grad_norm) and self.precision.overflow_is_normal()
        each = tuple(value / max(1, count) for value, count in zip(summed, counts, strict=True))
        return StepResult(loss, grad_norm, sum(counts), overflow, int(faults), each)
