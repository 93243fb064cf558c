"""What a mapper is told, and what it tells of a part that it made. Light: the parent of the workers needs no more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.config import PipelineConfig
from pipeline.workspace.part_store import PartStore


@dataclass(frozen=True)
class MapSetup:
    """What a worker needs to know, sent to it once."""

    config: PipelineConfig
    tokenizer: Path
    store: PartStore
    engine_factory: str | None


@dataclass(frozen=True)
class Mapped:
    """A part that was made: fingerprint of its counters, and the engine that encoded it."""

    checksum: str
    engine: str
