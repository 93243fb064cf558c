"""One training command: its sections and flags, as the file, the presets and the command line made them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from foundation.section import Section
from model.config import ModelConfig
from training.config import DataConfig, LoggingConfig, TrainFlags, TrainingConfig
from training.sampling import TextWriter

DEFAULT_DIRECTORY: Path = TrainingConfig.model_fields["out_dir"].default


@dataclass(frozen=True)
class RunConfig:
    """The sections and flags of one training command."""

    data: DataConfig
    model: ModelConfig
    training: TrainingConfig
    logging: LoggingConfig
    flags: TrainFlags
    write_texts: TextWriter | None = None
    """What writes the samples at validations; None: there are none."""
    given: frozenset[str] = frozenset()
    """The settings that the command line named, as opposed to the file: they win over a preset."""

    @property
    def directory(self) -> Path:
        """Where the run lies. Fine-tuning has a place of its own below the default one, named for the dataset: it never
        overwrites what it starts from."""
        directory = self.training.out_dir
        if self.training.task in ("chat", "classify") and directory == DEFAULT_DIRECTORY:
            return directory / "finetune" / self.data.sources[0].path.resolve().name
        return directory

    def with_training(self, **changes: Any) -> RunConfig:
        """The same with other settings of the section `training`."""
        return replace(self, training=self.training.model_copy(update=changes))

    def plain(self) -> dict[str, dict[str, Any]]:
        """The sections as plain values, for checkpoints and loggers."""
        sections: dict[str, Section] = {
            "data": self.data,
            "model": self.model,
            "training": self.training,
            "logging": self.logging,
        }
        return {name: section.model_dump(mode="json") for name, section in sections.items()}
