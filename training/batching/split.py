"""How a step's samples are split: global batch = microbatch x accumulation x processes, kept on any number of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foundation.errors import UserError
from foundation.logs import get_logger
from training.batching.batches import BatchPlan
from training.config import TrainingConfig
from training.devices.distributed import World

log = get_logger("training")

DEFAULT_BATCH: int = TrainingConfig.model_fields["batch_size"].default


class Split:
    """The samples of an optimizer step in a world of processes, and the microbatch they are cut into.

    `global_batch` is the step's samples over all processes. `microbatch` is one process's share of one forward pass;
    None while it is still to be chosen (`batch_size` auto in a fresh run).
    """

    def __init__(
        self, training: TrainingConfig, world: World, saved: Mapping[str, Any] | None, most: int | None = None
    ) -> None:
        """`saved` is the checkpoint that is resumed; there is no memory for more than `most` sequences at a time, as a
        start before found out. `UserError` when the numbers do not divide each other."""
        self._world = world
        size = training.batch_size or DEFAULT_BATCH
        self.global_batch = training.global_batch_size or size * training.accumulation_steps * world.size
        self.microbatch = training.batch_size
        if saved is not None:
            self._continue(training, saved)
        if self.global_batch % world.size:
            raise UserError(
                f"global_batch_size {self.global_batch} cannot be shared by {world.size} processes; "
                f"take a multiple of {world.size}"
            )
        share = self._whole.share
        if self.microbatch is not None and share % self.microbatch:
            raise UserError(
                f"global_batch_size {self.global_batch} on {world.size} process(es) is {share} sequences each, "
                f"which batch_size {self.microbatch} does not divide; take one of {self.sizes()}, or auto"
            )
        if most is not None and most < (self.microbatch or share):
            self.microbatch = self.sizes(most)[-1]
            log.info(
                "memory ran out before: batch_size %d x accumulation %d", self.microbatch, share // self.microbatch
            )

    @property
    def _whole(self) -> BatchPlan:
        """A step of one microbatch."""
        return BatchPlan(self.global_batch // self._world.size, 1, self._world.size, self._world.rank)

    def sizes(self, most: int | None = None) -> list[int]:
        """The possible microbatches of at most `most` samples, ascending."""
        return self._whole.sizes(most)

    def plan(self, microbatch: int) -> BatchPlan:
        """The plan with this microbatch, one of `sizes()`."""
        return self._whole.with_size(microbatch)

    def _continue(self, training: TrainingConfig, saved: Mapping[str, Any]) -> None:
        """Keep the saved run's global batch where only the number of processes or the microbatch changed.

        A change that was asked for (accumulation_steps, global_batch_size) is left for `check_resume` to judge.
        """
        old, wanted = saved["config"]["training"], saved["global_batch"]
        recorded = saved["state"].get("microbatch")
        asked = any(
            old.get(key, default) != getattr(training, key)
            for key, default in (("accumulation_steps", 1), ("global_batch_size", None))
        )
        if asked or wanted % self._world.size:
            return
        share = wanted // self._world.size
        fitting = recorded or training.batch_size
        if fitting is not None and old["batch_size"] == training.batch_size:
            self.microbatch = max(size for size in range(1, fitting + 1) if share % size == 0)
        if self.microbatch is not None and share % self.microbatch:
            return
        if wanted != self.global_batch:
            log.info(
                "the run's steps have %d samples: on %d process(es) that is %s",
                wanted,
                self._world.size,
                f"batch_size {self.microbatch} x accumulation {share // self.microbatch}"
                if self.microbatch
                else f"{share} each",
            )
        self.global_batch = wanted


def flags_for(plan: BatchPlan, training: TrainingConfig) -> str:
    """The flags that make a run of these settings follow `plan`; a fixed global batch decides the accumulation."""
    accumulation = f" --accumulation_steps {plan.accumulation_steps}" if training.global_batch_size is None else ""
    return f"--batch_size {plan.batch_size}{accumulation}"
