"""The executor that the settings name."""

from __future__ import annotations

from pipeline.config import PipelineConfig
from pipeline.executors.base import Executor
from pipeline.executors.local import WorkerPool


def make_executor(config: PipelineConfig, tasks: int) -> Executor:
    """An executor for so many tasks; with none to run, nothing is started."""
    if config.executor == "ray" and tasks:
        from pipeline.executors.ray import RayExecutor

        return RayExecutor(config.ray_address, config.workers, tasks)
    return WorkerPool(min(config.worker_count(), tasks))
