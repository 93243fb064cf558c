"""What the loop is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shards.samples import Samples
from training.batching.batches import BatchPlan, BatchStream
from training.config import LoggingConfig, TrainingConfig
from training.devices.distributed import World
from training.evaluation.validation import Validation
from training.loggers.fan_out import Loggers
from training.loggers.progress import Progress
from training.optimization.run_length import RunLength
from training.sampling import Sampling
from training.saving.run_directory import RunDirectory
from training.saving.snapshot import Snapshot
from training.state import RunState
from training.step import Stepper
from training.tasks.base import Task
from training.throughput import Throughput


@dataclass(frozen=True)
class Parts:
    """Everything the loop uses; `training/assembly.py` puts it together. `loggers` and `progress` are rank
    0's."""

    training: TrainingConfig
    logging: LoggingConfig
    world: World
    directory: RunDirectory
    task: Task
    snapshot: Snapshot
    stepper: Stepper
    plan: BatchPlan
    samples: Samples
    stream: BatchStream
    restart: Callable[[RunState, BatchPlan], BatchStream]
    """Another stream, from a state on, for when memory ran out and the plan changes."""
    validation: Validation | None
    loggers: Loggers
    sampling: Sampling | None
    progress: Progress | None
    throughput: Throughput
    length: RunLength
