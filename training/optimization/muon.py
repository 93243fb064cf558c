"""Muon over many matrices of one shape at a time: the steps of `torch.optim.Muon` from a fraction of the kernels.

Axes: N matrices of one shape, A rows, B columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

# Elements of the matrices in one batch: on a CPU they should stay in its cache, elsewhere this bounds memory. A step of
# 56 matrices of 256 x 256 and 256 x 704 on 2 cores with bfloat16 units: 144 ms, torch's 152; 85% of it is in products.
CPU_BATCH, BATCH = 2**20, 2**26


class Muon(torch.optim.Muon):
    """Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) with the arguments and state of torch's own.

    torch's takes one matrix after the other: 20 small kernels each, which a GPU waits for in a small model. Both agree
    but for a rounding of bfloat16 here and there.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Move every matrix that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if any(hasattr(parameter, "device_mesh") for parameter in parameters):
                super().step()  # type: ignore[no-untyped-call]  # split over processes (FSDP): torch gathers them
                return
            if parameters:
                self._move(parameters, group)

    def _move(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for parameter, grad in zip(parameters, grads, strict=True):
            if not self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(grad)
        momentum, rate = group["momentum"], float(group["lr"])
        buffers = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
        torch._foreach_lerp_(buffers, grads, 1 - momentum)
        steps = torch._foreach_lerp(grads, buffers, momentum) if group["nesterov"] else buffers
        torch._foreach_mul_(parameters, 1 - rate * group["weight_decay"])
        for batch in _batches(parameters):
            moves = orthogonal(torch.stack([steps[place] for place in batch]), group)
            size = _size(parameters[batch[0]].shape, group["adjust_lr_fn"])
            moved = [parameters[place] for place in batch]
            torch._foreach_add_(moved, [move.to(moved[0].dtype) for move in moves.unbind()], alpha=-rate * size)


def orthogonal(matrices: Tensor, group: dict[str, Any]) -> Tensor:
    """Nearly orthogonal matrices (N, A, B) bfloat16 near `matrices` (N, A, B), by Newton-Schulz iterations.

    Each is scaled to singular values of at most one, which the quintic polynomial with the group's coefficients
    then draws towards one.
    """
    a, b, c = group["ns_coefficients"]
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=group["eps"])
    for _ in range(group["ns_steps"]):
        gram = x @ x.mT  # (N, A, A), A the shorter side
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x.mT if tall else x


def _batches(parameters: Iterable[Tensor]) -> Iterator[list[int]]:
    """Places of parameters of one shape, device and dtype, few enough for one batch."""
    places: dict[object, list[int]] = {}
    for place, tensor in enumerate(parameters):
        bound = CPU_BATCH if tensor.device.type == "cpu" else BATCH
        count = max(1, bound // tensor.numel())
        places.setdefault((tensor.shape, tensor.device, tensor.dtype, count), []).append(place)
    for (_, _, _, count), found in places.items():  # type: ignore[misc]
        for start in range(0, len(found), count):
            yield found[start : start + count]


def _size(shape: torch.Size, rule: str | None) -> float:
    """What the learning rate of a matrix (A, B) is multiplied by."""
    rows, columns = shape
    if rule == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1.0, rows / columns))
