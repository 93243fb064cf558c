"""The executor that the settings name."""

from __future__ import annotations

from pipeline.config import PipelineConfig
from pipeline.executors.base import Executor
from pipeline.executors.local import WorkerPool
from pipeline.mapping.setup import MapSetup


def make_executor(config: PipelineConfig, setup: MapSetup, tasks: int) -> Executor:
    """An executor for so many tasks, whose workers begin to load what `setup` needs; with no task to run, nothing is
    started."""
    if config.executor == "ray" and tasks:
        from pipeline.executors.ray import RayExecutor

        return RayExecutor(setup, config.ray_address, config.workers, tasks)
    return WorkerPool(setup, min(config.worker_count(), tasks))
