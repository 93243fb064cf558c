"""samples.jsonl: what the model wrote at each evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from training.loggers import Logger, Sample
from training.loggers.json_lines import JsonLines


class SamplesFile(Logger):
    """Appends a line {"step", "prompt", "text"} for each sample to `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: JsonLines | None = None  # a run without samples has no such file

    def show(self, step: int, samples: Sequence[Sample]) -> None:
        """A line for each."""
        self._lines = self._lines or JsonLines(self._path)
        for sample in samples:
            self._lines.write({"step": step, **sample})

    def save(self) -> None:
        """Force the samples to the disk."""
        if self._lines:
            self._lines.sync()

    def close(self) -> None:
        """Close the file."""
        if self._lines:
            self._lines.close()
