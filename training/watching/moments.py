"""The optimizers' moments: whether they are sound before they move a weight, and what is done about broken ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from training.devices.distributed import World, local_part
from training.optimization.optimizers import Optimizers


class Moments:
    """Looks after the state of `optimizers`, which move the parameters of `module`.

    A broken number in it (bad memory, an overflow) would reach its weight in the next step and all weights in the one
    after. Looking costs one reading of the moments a step, 8 bytes a parameter under AdamW.
    """

    def __init__(self, module: nn.Module, optimizers: Optimizers, world: World) -> None:
        self._optimizers, self._world = optimizers, world
        self._names = {id(parameter): name for name, parameter in module.named_parameters()}

    def broken(self) -> Tensor | None:
        """A scalar on their device that is 0 when every moment and every count of steps is finite, else 1 or more; None
        before the first step. Does not wait for the device."""
        held = list(self._by_parameter())
        moments = [moment for _, moments, _ in held for moment in moments]
        if not moments:
            return None
        device = moments[0].device
        if device.type == "cuda":  # all of them in a few kernels; on a CPU sums are faster
            values = list(torch._foreach_norm(moments, ord=float("inf")))
        else:
            values = [moment.sum() for moment in moments]
        broken = (~torch.isfinite(torch.stack(values))).sum()
        if counts := [count for _, _, count in held if count is not None]:  # on the CPU where a kernel is not fused
            broken = broken + (~torch.isfinite(torch.stack(counts))).sum().to(device, non_blocking=True)
        return broken

    @torch.no_grad()
    def repair(self) -> list[str]:
        """Forget what is broken, and all moments of the same weight with it, so that its average starts anew: a moment
        without the other would make a step of any size. Where nothing of a weight is sound (its count of steps is
        broken, say), the count starts anew too. Gives the names of the parameters concerned.

        Every rank calls it: those that hold the same moments forget the same of them.
        """
        repaired = []
        for parameter, moments, count in self._by_parameter():
            broken = (~torch.stack([torch.isfinite(moment) for moment in moments])).any(0).float()
            if count is not None:
                broken += (~torch.isfinite(count)).to(broken)
            if local_part(parameter) is parameter:  # whole on every rank
                self._world.add_up(broken)
            sound = broken == 0
            if not bool(sound.all()):
                for moment in moments:
                    moment.copy_(torch.where(sound, moment, torch.zeros_like(moment)))
                if count is not None and not bool(sound.any()):
                    count.zero_()
                name = self._names.get(id(parameter), "?")
                repaired.append(name.removeprefix("module.").removeprefix("plain.").removeprefix("model."))
        return repaired

    def _by_parameter(self) -> Iterator[tuple[Tensor, list[Tensor], Tensor | None]]:
        """Each parameter that has moments, with this rank's part of them and the optimizer's count of its steps."""
        for member in self._optimizers.members.values():
            for parameter, state in member.state.items():
                moments = [local_part(value) for value in state.values() if _is_moment(value, parameter)]
                if moments and moments[0].numel():  # a rank's part of a small weight may be empty
                    yield parameter, moments, state.get("step")


def _is_moment(value: Any, parameter: Tensor) -> bool:
    """Whether `value` is a moment, not the number of steps."""
    return isinstance(value, Tensor) and value.is_floating_point() and value.shape == parameter.shape and value.ndim > 0
