"""What a run is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.config import PipelineConfig
from pipeline.publishing.target import Target
from pipeline.sources.base import InputFile
from pipeline.workspace.area import Work
from shards.manifest import Manifest
from tokenization.tokenizer import Tokenizer


@dataclass(frozen=True)
class Setup:
    """What is settled before a run. `config.output` is the local directory in which the dataset is built."""

    config: PipelineConfig
    settings: dict[str, Any]
    inputs: list[InputFile]
    work: Work
    target: Target
    engine_factory: str
    existing: Manifest | None
    given: Tokenizer | None
