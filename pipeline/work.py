"""The work area `dataset/.work/FINGERPRINT/`: a cache of parts with a journal, safe to delete when nothing runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from foundation import atomic, fingerprint
from pipeline.config import PipelineConfig
from pipeline.journal import Journal
from pipeline.parts import Part
from pipeline.sources.base import Task

WORK_DIRECTORY = ".work"


def work_root(output: Path) -> Path:
    """Where the work of the datasets beside `output` lies."""
    return output.parent / WORK_DIRECTORY


def lock_path(output: Path) -> Path:
    """The lock file of one dataset: one pipeline at a time writes to it."""
    return work_root(output) / f"{output.name}.lock"


class Work:
    """The work of one dataset under one configuration. `settings` is what changes the bytes (tokenizer included)."""

    def __init__(self, config: PipelineConfig, settings: dict[str, Any]) -> None:
        self.settings = settings
        self._identity = {"output": config.output.name, "settings": settings}
        self.directory = work_root(config.output) / fingerprint.of_json(self._identity)[:32]
        self.parts = self.directory / "parts"
        self.tokenizer = self.directory / "tokenizer"
        self.log = self.directory / "process.log"
        self.timings = self.directory / "timings.json"

    def exists(self) -> bool:
        """Whether earlier work is there."""
        return (self.directory / "work.json").exists()

    def discard(self) -> None:
        """Remove earlier work."""
        if self.directory.exists():
            shutil.rmtree(self.directory)

    def open(self) -> Journal:
        """Create what is missing, remove what was interrupted, and read the journal."""
        self.parts.mkdir(parents=True, exist_ok=True)
        atomic.remove_temporaries(self.directory)
        atomic.remove_temporaries(self.parts)
        if not self.exists():
            atomic.write_json(self.directory / "work.json", self._identity)
        return Journal(self.directory / "journal.jsonl")

    def part(self, task: Task) -> Part:
        """The part of a task, whether or not it is there."""
        return Part(self.parts / task.key)

    def is_done(self, task: Task, journal: Journal) -> bool:
        """Whether the journal has committed the task's part and it is still the one on disk."""
        entry = journal.parts.get(task.key)
        if entry is None:
            return False
        try:
            return bool(self.part(task).checksum() == entry["checksum"])
        except FileNotFoundError:
            return False

    def add_timings(self, seconds: dict[str, float]) -> None:
        """Write the time each step took in this run."""
        atomic.write_text(self.timings, json.dumps(seconds, indent=1) + "\n")
