"""The optimizers of a run as one: a run may move some weights by one rule and the rest by another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

SHARE = "rate_share"
"""Key of a parameter group that learns at a share of the learning rate."""


class Optimizers:
    """Optimizers by name (`adamw`, say), each over its own parameters; they step together or not at all."""

    def __init__(self, members: Mapping[str, torch.optim.Optimizer]) -> None:
        self.members = dict(members)

    def set_learning_rate(self, rate: float) -> None:
        """Give every parameter group the learning rate `rate`, or the share of it that the group learns at."""
        for group in self.groups():
            group["lr"] = rate * group.get(SHARE, 1.0)

    def groups(self) -> list[dict[str, Any]]:
        """The parameter groups of all members."""
        return [group for member in self.members.values() for group in member.param_groups]

    def unscale(self, scaler: torch.amp.GradScaler) -> None:
        """Divide the gradients by the loss scale (a disabled scaler leaves them)."""
        for member in self.members.values():
            scaler.unscale_(member)

    def step(self, scaler: torch.amp.GradScaler) -> None:
        """One step of each."""
        for member in self.members.values():
            scaler.step(member)

    def zero_grad(self) -> None:
        """Free the gradients."""
        for member in self.members.values():
            member.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """Name -> state, plain values and tensors."""
        return {name: member.state_dict() for name, member in self.members.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave. Whether a kernel is fused is a property of this device, not of the run."""
        for name, member in self.members.items():
            fused = [group.get("fused") for group in member.param_groups]
            member.load_state_dict(state[name])
            for group, value in zip(member.param_groups, fused, strict=True):
                if "fused" in group:
                    group["fused"] = value
