"""FSDP2: weights, gradients and optimizer state split over the ranks, for models that do not fit one device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map

from foundation.errors import UserError
from training.devices.distributed import World
from training.devices.strategy import Strategy
from training.optimization.optimizers import Optimizers


class Sharded(Strategy):
    """Each rank holds its share of every weight (Zhao et al. 2023, arXiv 2304.11277; torch's `fully_shard`).

    A block's weights are gathered while it computes. Checkpoints hold whole tensors, as those of one process do: a run
    may go on with another strategy or another number of ranks. `UserError` for float16.
    """

    whole_model = False

    def __init__(self, world: World, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(world, device)
        if dtype == torch.float16:
            raise UserError(
                "--fsdp cannot train in float16: its loss scale is not kept for weights that are split over processes; "
                "use --dtype bfloat16, or --dtype float32 where the device has no bfloat16"
            )
        # A block's weights travel in the format its products are computed in; gradients are summed in float32. What
        # goes into a block stays as it is: the residual stream and the rotation are float32 under autocast.
        self._block = MixedPrecisionPolicy(cast_forward_inputs=False)
        if dtype == torch.bfloat16:
            self._block = MixedPrecisionPolicy(dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
        self._rest = MixedPrecisionPolicy(cast_forward_inputs=False)

    def prepare(self, model: nn.Module) -> None:
        """Shard every block of each stack by itself, and what is left (embedding, last norm, head) as one.

        Each goes to the device and is cut there: never more than one block is whole on it.
        """
        mesh = init_device_mesh(self.device.type, (dist.get_world_size(),))
        for block in self.compiled_parts(model):
            fully_shard(block, mesh=mesh, mp_policy=self._block)
        # Not kept whole between passes: an average of the weights may take their place there.
        fully_shard(model, mesh=mesh, mp_policy=self._rest, reshard_after_forward=True)

    def check(self, optimizers: Optimizers) -> None:
        """Muon works on matrices that every rank has a row of."""
        for member in optimizers.members.values():
            if isinstance(member, torch.optim.Muon):
                rows = min(parameter.shape[0] for group in member.param_groups for parameter in group["params"])
                if rows < self.world.size:
                    raise UserError(
                        f"--optimizer muon with --fsdp: a matrix of {rows} rows cannot be split over {self.world.size} "
                        "processes; so small a model trains with --ddp, or with --optimizer adamw"
                    )

    def compiled_parts(self, model: nn.Module) -> Sequence[nn.Module]:
        """Every block of each stack: between blocks weights are gathered and freed, which no compiler sees."""
        return [block for stack in model.modules() if isinstance(stack, nn.ModuleList) for block in stack]

    @contextmanager
    def microstep(self, module: nn.Module, last: bool) -> Iterator[None]:
        """No reduction over ranks but in the last microstep; until then each rank keeps whole gradients."""
        for part in module.modules():
            if isinstance(part, FSDPModule):
                part.set_requires_gradient_sync(last, recurse=False)
        yield

    def clip(self, parameters: Sequence[nn.Parameter], limit: float) -> Tensor:
        """As in one process, over all shards."""
        return _whole(super().clip(parameters, limit))

    def model_state(self, model: nn.Module) -> dict[str, Tensor]:
        """Gathered weights by name, one tensor after the other."""
        return self.whole(dict(model.state_dict()))

    def load_model_state(self, model: nn.Module, state: Mapping[str, Tensor]) -> None:
        """Each rank takes its part of the whole tensors."""
        live = dict(model.state_dict())
        missing, unknown = sorted(live.keys() - state.keys()), sorted(state.keys() - live.keys())
        wrong = [name for name in live.keys() & state.keys() if live[name].shape != state[name].shape]
        if missing or unknown or wrong:
            raise RuntimeError(f"missing {missing}, unknown {unknown}, other shapes {sorted(wrong)}")
        self.put(live, state)

    def optimizer_state(self, model: nn.Module, optimizers: Optimizers) -> dict[str, Any]:
        """Gathered moments, laid out as one process has them."""
        state: dict[str, Any] = tree_map(self._gather, optimizers.state_dict())
        return state

    def load_optimizer_state(self, model: nn.Module, optimizers: Optimizers, state: Mapping[str, Any]) -> None:
        """Each rank takes its part of the whole moments."""
        optimizers.load_state_dict(
            {name: _split_like(state[name], member) for name, member in optimizers.members.items()}
        )

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Gathered tensors, on the CPU of rank 0; other ranks take part and keep nothing."""
        return {name: self._gather(tensor) for name, tensor in tensors.items()}

    def put(self, targets: Mapping[str, Tensor], whole: Mapping[str, Tensor]) -> None:
        """Copy whole tensors into the targets, each rank its part."""
        with torch.no_grad():
            for name, target in targets.items():
                target.copy_(_split(whole[name], target))

    def _gather(self, value: Any) -> Any:
        """A whole tensor for rank 0; on other ranks an empty one, so that no rank holds a second model."""
        if not isinstance(value, DTensor):
            return value
        whole = value.full_tensor()
        return whole.cpu() if self.world.is_main else torch.empty(0)


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _split(whole: Tensor, like: Tensor) -> Tensor:
    """This rank's part of `whole`, spread as `like` is."""
    if not isinstance(like, DTensor):
        return whole
    # Every rank has read the same file: nothing needs to be sent.
    moved = whole.to(device=like.device, dtype=like.dtype)
    return distribute_tensor(moved, like.device_mesh, like.placements, src_data_rank=None)


def _split_like(state: Mapping[str, Any], member: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimizer's whole state with its moments spread as the parameters they belong to."""
    parameters = [parameter for group in member.param_groups for parameter in group["params"]]
    split: Callable[[Any, Tensor], Any] = lambda value, like: (  # noqa: E731
        _split(value, like) if isinstance(value, Tensor) and value.shape == like.shape else value
    )
    moments = {
        number: {key: split(value, parameters[number]) for key, value in values.items()}
        for number, values in state["state"].items()
    }
    return {"state": moments, "param_groups": state["param_groups"]}
