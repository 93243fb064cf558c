"""The sections `data`, `training` and `logging`, and the problems that only show in their combination."""

from __future__ import annotations

from collections.abc import Sequence

from training.settings.base import Settings
from training.settings.data import DataConfig
from training.settings.finetuning import FinetuningSettings
from training.settings.flags import TrainFlags
from training.settings.hardware import HardwareSettings
from training.settings.length import LengthSettings
from training.settings.logging import LoggingConfig
from training.settings.objective import ObjectiveSettings
from training.settings.optimization import OptimizationSettings
from training.settings.preflight import PreflightSettings
from training.settings.robustness import RobustnessSettings
from training.settings.saving import SavingSettings
from training.settings.validation import ValidationSettings

__all__ = ["DataConfig", "LoggingConfig", "TrainFlags", "TrainingConfig", "combination_problems"]


# pydantic lists the fields of the last base first.
class TrainingConfig(
    HardwareSettings,
    PreflightSettings,
    RobustnessSettings,
    SavingSettings,
    ValidationSettings,
    OptimizationSettings,
    LengthSettings,
    FinetuningSettings,
    ObjectiveSettings,
):
    """How the model is trained."""

    def problems(self) -> Sequence[str]:
        """The problems of every part."""
        parts = [kind for kind in type(self).__mro__[1:] if issubclass(kind, Settings) and "problems" in vars(kind)]
        return [problem for part in parts for problem in part.problems(self)]


def combination_problems(
    data: DataConfig, training: TrainingConfig, logging: LoggingConfig, flags: TrainFlags, max_positions: int
) -> Sequence[str]:
    """Every problem that no single setting shows, each with its remedy; empty when all is well."""
    problems = [problem for section in (data, training, logging, flags) for problem in section.problems()]
    if data.max_seq_len > max_positions:
        problems.append(
            f"max_seq_len {data.max_seq_len} exceeds the model's max_position_embeddings {max_positions}; "
            f"lower max_seq_len or give --max_position_embeddings {data.max_seq_len}"
        )
    return problems
