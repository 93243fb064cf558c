"""The task that `training.task` names."""

from __future__ import annotations

from training.batching.datasets import TrainingData
from training.config import DataConfig, TrainingConfig
from training.tasks.base import Task
from training.tasks.causal import CausalTask
from training.tasks.chat import ChatTask
from training.tasks.classify import ClassifyTask
from training.tasks.mlm import MlmTask
from training.tasks.mlm_nsp import MlmNspTask

TASKS: dict[str, type[Task]] = {kind.name: kind for kind in (CausalTask, ChatTask, ClassifyTask, MlmTask, MlmNspTask)}


def choose_task(data: TrainingData, data_config: DataConfig, training: TrainingConfig) -> Task:
    """The task of a run. `UserError` for what its data lack."""
    return TASKS[training.task](data, data_config, training)
