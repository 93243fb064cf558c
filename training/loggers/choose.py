"""Which loggers a run has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.config import LoggingConfig
from training.loggers import Logger
from training.loggers.fan_out import Loggers
from training.loggers.foreign import Foreign
from training.loggers.history_plot import draw_run
from training.loggers.metrics_jsonl import MetricsFile
from training.loggers.progress import Progress
from training.loggers.redrawn import Redrawn
from training.loggers.run_history import RunHistory
from training.loggers.samples_jsonl import SamplesFile
from training.loggers.spikes_jsonl import SpikesFile
from training.loggers.tensorboard_logger import TensorBoardLogger
from training.loggers.wandb_logger import WandbLogger
from training.report.page import write_report
from training.saving.run_directory import RunDirectory
from training.state import RunState


def open_foreign(
    config: LoggingConfig, directory: RunDirectory, state: RunState, settings: Mapping[str, Any]
) -> Loggers:
    """The loggers of other libraries, for a run that goes on from `state`. They may refuse (`UserError`), so they are
    opened before anything in the run directory changes."""
    loggers: list[Logger] = []
    if config.use_tensorboard:
        loggers.append(Foreign("TensorBoard", TensorBoardLogger(directory.tensorboard, state.step)))
    if config.use_wandb:
        wandb = WandbLogger(config, directory.path, state.wandb_id, settings)
        state.wandb_id = wandb.run_id
        loggers.append(Foreign("Weights & Biases", wandb))
    return Loggers(loggers)


def choose_loggers(
    config: LoggingConfig, directory: RunDirectory, progress: Progress, facts: Mapping[str, Any], foreign: Loggers
) -> Loggers:
    """The loggers of a run: files first, then people and other programs, then pages that read the files.

    `facts` is what history.jsonl says about this stretch (see `training/facts.py`).
    """
    loggers: list[Logger] = [
        MetricsFile(directory.metrics),
        SamplesFile(directory.samples),
        SpikesFile(directory.spikes),
        RunHistory(directory.history, dict(facts)),
        progress,
        foreign,
    ]
    if config.report:
        loggers.append(Redrawn(directory.plot, lambda: draw_run(directory.path)))
        loggers.append(Redrawn(directory.report, lambda: write_report(directory.path)))
    return Loggers(loggers)
