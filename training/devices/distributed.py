"""Processes and ranks: who am I, how do we agree, how do we add up."""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from foundation.device import pick_device
from foundation.errors import UserError, first_line
from foundation.logs import get_logger
from training.devices.meeting import meet
from training.settings.hardware import PROCESS_TIMEOUT

log = get_logger("training")

PATIENCE = timedelta(days=7)
"""For what one process does alone while the others wait, such as reading every token of a dataset."""


@dataclass(frozen=True)
class World:
    """This process among all.

    `control` carries small CPU numbers (counts, stop flags) and never waits for a GPU; `patient` is for what may take
    long. A process that does not answer within `timeout` seconds is given up. `store` holds notes that all can read,
    also when one of them is gone.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    control: Any = None
    patient: Any = None
    store: Any = None
    timeout: float = PROCESS_TIMEOUT

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and talks to people."""
        return self.rank == 0

    def total(self, numbers: Sequence[int]) -> list[int]:
        """Elementwise sum over all ranks. Every rank calls it at the same point."""
        if self.size == 1:
            return list(numbers)
        tensor = torch.tensor(numbers, dtype=torch.int64)
        dist.all_reduce(tensor, group=self.control)
        return [int(number) for number in tensor.tolist()]

    def add_up(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum `tensor` over all ranks, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def add_up_on_cpu(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum a CPU tensor over all ranks, in place."""
        if self.size > 1:
            dist.all_reduce(tensor, group=self.control)
        return tensor

    def same_everywhere(self, value: Any) -> Any:
        """Rank 0's `value`, on every rank, however long it takes there."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.patient)
        return box[0]

    def first_of(self, text: str | None) -> str | None:
        """The `text` of the first rank that has one. Every rank calls it at the same point."""
        if self.size == 1:
            return text
        texts: list[str | None] = [None] * self.size
        dist.all_gather_object(texts, text, group=self.control)
        return next((each for each in texts if each is not None), None)

    def close(self) -> None:
        """Leave the process group."""
        if self.size > 1 and dist.is_initialized():
            # The wrapped model is a cycle that holds the group. Were it freed while the interpreter shuts down, the
            # threads of gloo would ask for a GIL that is gone, and abort a process that has done its work.
            gc.collect()
            dist.destroy_process_group()


def local_part(tensor: torch.Tensor) -> torch.Tensor:
    """This rank's part of a tensor that is spread over ranks (a DTensor); any other tensor as it is."""
    part: torch.Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return part


def join_world(
    ddp: bool, local_rank: int | None, device_name: str, timeout: float = PROCESS_TIMEOUT
) -> tuple[World, torch.device]:
    """This process's place and device, from torchrun's environment variables; `timeout` in seconds.

    `--ddp` outside torchrun is a world of one. `UserError` for torchrun without `--ddp` (each process would
    train alone, all into one directory), for more processes on a machine than it has GPUs, and for several on MPS.
    """
    size = int(os.environ.get("WORLD_SIZE") or "1")
    if size > 1 and not ddp:
        raise UserError(f"torchrun started {size} processes, but --ddp is not given; add --ddp, or use plain python")
    if size == 1:
        if ddp and "RANK" not in os.environ:
            log.info("--ddp without torchrun: training in one process (torchrun --nproc_per_node N train.py --ddp)")
        return World(), pick_device(device_name)
    local = int(os.environ.get("LOCAL_RANK", local_rank if local_rank is not None else 0))
    device = pick_device(device_name)
    if device.type == "mps":
        raise UserError(
            f"torchrun started {size} processes, but torch can add up nothing over processes on an Apple GPU (MPS); "
            "start one process, without torchrun, or add --device cpu"
        )
    if device.type == "cuda":
        if local >= torch.cuda.device_count():
            raise UserError(
                f"process {local} on this machine has no GPU of its own "
                f"(there are {torch.cuda.device_count()}); lower --nproc_per_node"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    return _join(local, device, timeout), device


def _join(local: int, device: torch.device, timeout: float) -> World:
    """Find the other processes at the address that torchrun gave."""
    patience = timedelta(seconds=timeout)
    try:
        found, rank, size = next(iter(rendezvous("env://", timeout=patience)))
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"this process did not find the others ({first_line(error)}); start all of them with torchrun, or set "
            "RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT in each"
        ) from None
    # Processes that torchrun has started again shall not read the notes of those before them, nor a second run of the
    # same processes (--chain, --seeds) those of the first.
    store = PrefixStore(meet(found, rank, size, patience), found)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=PrefixStore("processes", store),
        rank=rank,
        world_size=size,
        timeout=patience,
        # Bound to its GPU at once, NCCL fails here and not in the first step, and never guesses the GPU of a rank.
        device_id=device if device.type == "cuda" else None,
    )
    control = dist.new_group(backend="gloo", timeout=patience)
    return World(rank, size, local, control, dist.new_group(backend="gloo", timeout=PATIENCE), store, timeout)
