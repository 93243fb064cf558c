"""Settings of `python -m pipeline.process`: the `pipeline` section of the configuration."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from foundation.section import Section
from pipeline.settings.base import Settings
from pipeline.settings.cleaning import CleaningSettings
from pipeline.settings.dedup import DedupSettings
from pipeline.settings.execution import ExecutionSettings
from pipeline.settings.filters import FilterSettings
from pipeline.settings.inputs import InputSettings
from pipeline.settings.output import OutputSettings
from pipeline.settings.tokenizer import TokenizerSettings


# pydantic lists the fields of the last base first.
class PipelineConfig(
    ExecutionSettings,
    OutputSettings,
    TokenizerSettings,
    DedupSettings,
    FilterSettings,
    CleaningSettings,
    InputSettings,
):
    """Everything the pipeline can be told. What changes the dataset's bytes is listed by `settings`."""

    @model_validator(mode="after")
    def _consistent(self) -> PipelineConfig:
        if not self.input:
            raise ValueError("input: name at least one file or directory")
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("val_fraction and test_fraction leave nothing to train on; make their sum smaller than 1")
        return self

    def settings(self) -> dict[str, Any]:
        """What changes the dataset's bytes, but for the inputs and a given tokenizer's content."""
        excluded = self.neutral() | (self.TRAINING if self.tokenizer is not None else set())
        return self.model_dump(mode="json", exclude=set(excluded))

    @classmethod
    def neutral(cls) -> frozenset[str]:
        """The settings that change none of the dataset's bytes, or count by the content they name."""
        return frozenset().union(*(kind.NEUTRAL for kind in cls.__mro__ if issubclass(kind, Settings)))


class ProcessFlags(Section):
    """Options of the command line only."""

    resume: bool = Field(False, description="go on with half-done work, or update a finished dataset")
    overwrite: bool = Field(False, description="make the dataset anew and replace the existing one")
    dry_run: bool = Field(
        False, description="write nothing: map about 1% of the input and predict documents, tokens, disk, time, memory"
    )

    @model_validator(mode="after")
    def _exclusive(self) -> ProcessFlags:
        if self.resume and self.overwrite:
            raise ValueError("--resume and --overwrite exclude each other; give one")
        return self
