"""One optimizer step: accumulate, agree, clip, and never let a bad gradient touch the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from foundation.errors import first_line
from training.batching.batches import Microbatch
from training.devices.compilation import switch_of
from training.devices.distributed import local_part
from training.devices.out_of_memory import is_out_of_memory
from training.devices.precision import Precision
from training.devices.strategy import Strategy
from training.optimization.optimizers import Optimizers
from training.watching.moments import Moments


@dataclass(frozen=True)
class StepResult:
    """What one optimizer step did, over all ranks and microsteps. `losses` are the task's, each the mean in nats over
    what it predicts; `loss` is their sum."""

    loss: float
    grad_norm: float
    losses: tuple[float, ...]
    tokens: int
    """Tokens read, padding left out."""
    overflow: bool = False
    """The gradient was not finite because of float16's loss scale, which is now lower."""
    broken_moments: int = 0
    """Tensors of the optimizer's state that held a number that is not finite, over all ranks."""
    microsteps: tuple[float, ...] = ()
    """The loss of each microstep, over all ranks: the sum of the means of its losses."""

    @property
    def skipped(self) -> bool:
        """Whether the weights and moments were left as they were."""
        return self.broken_moments > 0 or not (math.isfinite(self.loss) and math.isfinite(self.grad_norm))


class Stepper:
    """Runs optimizer steps on `module` (a task's LossModule, perhaps compiled and inside DDP)."""

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

        Every microstep's summed losses are divided by the number of predictions of the *whole* step, over all
        microsteps and ranks, each by its own, so that the gradient is the sum of the means however they are split.
        """
        self._try_compiled(batches[0])
        plain = int(self._switch is None or not self._switch.on)
        mine = [number for batch in batches for number in batch.predicted]
        *counts, tokens, plain = self._world.total([*mine, sum(batch.tokens for batch in batches), plain])
        if plain and not self._all_plain:
            self._all_plain = True
            reason = self._world.first_of(self._switch.reason if self._switch is not None else None)
            if self._switch is not None:
                self._switch.turn_off(reason or "another process does not compile")
        kinds = len(batches[0].predicted)
        each = [tuple(counts[start : start + kinds]) for start in range(0, len(counts), kinds)]
        losses = self._accumulate(batches, [sum(column) for column in zip(*each, strict=True)], interrupted)
        if losses is None:
            self.optimizers.zero_grad()
            return None
        scaler = self.precision.scaler
        self.optimizers.unscale(scaler)
        norm = self._strategy.clip(self._parameters, self._limit)
        result = self._judge(losses, each, tokens, norm)
        if not result.skipped:
            self.optimizers.set_learning_rate(rate)
            self.moving = True
            self.optimizers.step(scaler)
            self.moving = False
        if scaler.is_enabled():
            scaler.update()
        self.optimizers.zero_grad()
        return result

    @property
    def compiles(self) -> bool:
        """Whether steps run compiled code."""
        return self._switch is not None and self._switch.on

    def try_alone(self, batches: Sequence[Microbatch], beside: int) -> None:
        """Pass over `batches` forward and backward without a sum over ranks, with `beside` bytes taken meanwhile: what
        does not fit raises here, where no process waits for another. Needs `Strategy.whole_model`; moves nothing."""
        device = self.precision.device
        taken = torch.empty(beside, dtype=torch.uint8, device=device)
        try:
            self._try_compiled(batches[0])
            with self._own_chance():
                for batch in batches:
                    self._microstep(batch, [1.0] * len(batch.predicted), last=False)
        finally:
            del taken
            self.optimizers.zero_grad()

    def weights_are_finite(self) -> bool:
        """Whether all weights of all ranks are finite numbers; every rank asks."""
        tensors = (local_part(parameter.detach()) for parameter in self.module.parameters())
        broken = sum(int(not torch.isfinite(tensor).all()) for tensor in tensors)
        return self._world.total([broken])[0] == 0

    def forget(self) -> None:
        """Drop what an unfinished step left behind; compiled code is tried by itself again, in what shapes come now."""
        self.optimizers.zero_grad()
        self.precision.set_scale(self.precision.scaler.state_dict())
        self._tried = False

    def _accumulate(
        self, batches: Sequence[Microbatch], predicted: Sequence[int], interrupted: Callable[[], bool]
    ) -> list[Tensor] | None:
        """Add up gradients; gives the summed losses of each microstep of this rank, (L,) on the device."""
        losses = []
        # DDP averages over ranks where the sum is wanted; float16 scales to keep small gradients
        # from vanishing.
        factors = [self._world.size / max(1, count) for count in predicted]
        for number, batch in enumerate(batches):
            if interrupted():
                return None
            summed = self._microstep(batch, factors, last=number == len(batches) - 1)
            losses.append(summed.detach().to(torch.promote_types(summed.dtype, torch.float32)))
        return losses

    def _microstep(self, batch: Microbatch, factors: Sequence[float], last: bool) -> Tensor:
        """Forward and backward; gives the summed losses (L,)."""
        with self._strategy.microstep(self.module, last):
            with self.precision.autocast():
                summed: Tensor = self.module(**batch.to(self.precision.device))
            parts = [loss * factor for loss, factor in zip(summed.unbind(), factors, strict=True)]
            self.precision.scaler.scale(sum(parts[1:], start=parts[0])).backward()
        return summed

    def _try_compiled(self, batch: Microbatch) -> None:
        """Run compiled code for the first time by itself, forward and backward without a sum over ranks: should it
        fail, no process waits for the gradients of another, nothing has moved, and the step goes on uncompiled."""
        # Sharded weights are fetched from the other ranks within a pass: there is no trying without them.
        if self._tried or self._switch is None or not self._strategy.whole_model:
            return
        reason = None
        with self._own_chance():
            try:
                self._microstep(batch, [1.0] * len(batch.predicted), last=False)
            except Exception as error:  # compilers and what they make raise anything
                if is_out_of_memory(error):
                    raise
                reason = first_line(error)
        self._tried = True
        self.optimizers.zero_grad()
        if reason is not None:
            self._switch.turn_off(reason)

    def _own_chance(self) -> AbstractContextManager[None]:
        """Inside, what is drawn changes no draw that comes after."""
        device = self.precision.device
        return torch.random.fork_rng([device] if device.type == "cuda" else [])

    def _judge(
        self, summed: Sequence[Tensor], counts: Sequence[tuple[int, ...]], tokens: int, norm: Tensor
    ) -> StepResult:
        """What all ranks know of the step before it moves a weight: one sum over ranks and one wait for the device.

        `summed` and `counts` are the losses and numbers of predictions of each microstep.
        """
        broken = self.moments.broken()
        zero = torch.zeros(1, device=summed[0].device)
        local = torch.cat([*summed, zero if broken is None else broken.to(summed[0].dtype).reshape(1)])
        *flat, faults, grad_norm = torch.cat([self._world.add_up(local), norm.reshape(1)]).tolist()
        kinds = len(counts[0])
        sums = [flat[start : start + kinds] for start in range(0, len(flat), kinds)]
        losses = tuple(
            sum(column) / max(1, sum(numbers))
            for column, numbers in zip(zip(*sums, strict=True), zip(*counts, strict=True), strict=True)
        )
        loss = sum(losses)
        overflow = math.isfinite(loss) and not math.isfinite(grad_norm) and self.precision.overflow_is_normal()
        each = tuple(
            sum(value / max(1, number) for value, number in zip(row, numbers, strict=True))
            for row, numbers in zip(sums, counts, strict=True)
        )
        return StepResult(loss, grad_norm, losses, tokens, overflow, int(faults), each)
