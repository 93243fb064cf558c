"""How one model is trained by one process or several: what wraps it, what is summed when, who holds which weights."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from training.devices.distributed import World
from training.optimization.optimizers import Optimizers

# The buffers are tables, the same on every rank; what says so was renamed in torch 2.13.
_KNOWN = inspect.signature(DistributedDataParallel.__init__).parameters
_BUFFERS_STAY: dict[str, Any] = {
    "forward_sync_buffers" if "forward_sync_buffers" in _KNOWN else "broadcast_buffers": False
}


class Strategy:
    """One process: everything is here. Other strategies replace what differs.

    Order of use: `prepare` the model, build the optimizers from it and `check` them, `spread` the module around it,
    then steps.
    """

    whole_model = True
    """Whether each rank holds all weights."""
    bucket_bytes = 0
    """Bytes a weight that `spread` takes for sums over ranks, beside the gradients of earlier microsteps."""

    def __init__(self, world: World, device: torch.device) -> None:
        self.world, self.device = world, device

    def prepare(self, model: nn.Module) -> None:
        """Bring a model from the CPU to the device, changed in place as far as needed, before its optimizers are
        made."""
        model.to(self.device)

    def check(self, optimizers: Optimizers) -> None:
        """`UserError` where the optimizers cannot move weights as this strategy holds them."""

    def compiled_parts(self, model: nn.Module) -> Sequence[nn.Module]:
        """The parts of the model that are to be compiled each for itself; none: the model as a whole."""
        return ()

    def spread(self, module: nn.Module) -> nn.Module:
        """The module whose forward and backward the step runs; `module` is a task's LossModule, perhaps compiled."""
        return module

    def microstep(self, module: nn.Module, last: bool) -> AbstractContextManager[object]:
        """Around the forward and backward of one microstep; gradients are summed over ranks in the `last` alone."""
        return nullcontext()

    def clip(self, parameters: Sequence[nn.Parameter], limit: float) -> Tensor:
        """Scale the gradients to a norm of at most `limit`; gives the norm before, a scalar over all ranks."""
        return nn.utils.clip_grad_norm_(parameters, limit, error_if_nonfinite=False)

    def model_state(self, model: nn.Module) -> dict[str, Tensor]:
        """The whole weights by name, for rank 0; every rank calls it."""
        return dict(model.state_dict())

    def load_model_state(self, model: nn.Module, state: Mapping[str, Tensor]) -> None:
        """Put whole weights into the model; every rank has read them. RuntimeError when they do not fit."""
        model.load_state_dict(state)

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole tensors from ones that are spread as the parameters are, for rank 0; every rank calls it."""
        return dict(tensors)

    @torch.no_grad()
    def put(self, tensors: Mapping[str, Tensor], whole: Mapping[str, Tensor]) -> None:
        """Put `whole` tensors, as `whole` gave them, into ones that are spread as the parameters are."""
        for name, tensor in tensors.items():
            tensor.copy_(whole[name])

    def optimizer_state(self, model: nn.Module, optimizers: Optimizers) -> dict[str, Any]:
        """The whole state of the optimizers, for rank 0; every rank calls it."""
        return optimizers.state_dict()

    def load_optimizer_state(self, model: nn.Module, optimizers: Optimizers, state: Mapping[str, Any]) -> None:
        """Put a whole state, as `optimizer_state` gave it, into the optimizers."""
        optimizers.load_state_dict(state)


class Replicated(Strategy):
    """DDP: every rank has the whole model, gradients are averaged over ranks once a step."""

    bucket_bytes = 4

    def spread(self, module: nn.Module) -> nn.Module:
        """DDP around the module."""
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=devices, gradient_as_bucket_view=True, **_BUFFERS_STAY)

    def microstep(self, module: nn.Module, last: bool) -> AbstractContextManager[object]:
        """No sum over ranks but in the last microstep; a module that is not yet spread has none at all."""
        return nullcontext() if last or not isinstance(module, DistributedDataParallel) else module.no_sync()
