"""Which strategy a run trains by."""

from __future__ import annotations

import torch

from foundation.logs import get_logger
from training.devices.distributed import World
from training.devices.strategy import Replicated, Strategy

log = get_logger("training")


def choose_strategy(world: World, device: torch.device, dtype: torch.dtype, sharded: bool) -> Strategy:
    """The strategy for this world; `sharded` splits the model over its ranks. `dtype`: that of the matrix products."""
    if world.size == 1:
        if sharded:
            log.info("--fsdp with one process: there is nobody to share the model with; it trains as without")
        return Strategy(world, device)
    if not sharded:
        return Replicated(world, device)
    from training.devices.sharded import Sharded  # its imports take most of a second

    return Sharded(world, device, dtype)
