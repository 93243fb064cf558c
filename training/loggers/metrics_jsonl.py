"""metrics.jsonl: one JSON object a logged step, for programs."""

from __future__ import annotations

from pathlib import Path

from training.loggers import Logger, Row
from training.loggers.json_lines import JsonLines


class MetricsFile(Logger):
    """Appends rows to `path`. A checkpoint is never newer than the metrics before it."""

    def __init__(self, path: Path) -> None:
        self._lines = JsonLines(path)

    def log(self, row: Row) -> None:
        """One line; a number that is not finite becomes null."""
        self._lines.write(row)

    def save(self) -> None:
        """Force the rows to the disk."""
        self._lines.sync()

    def close(self) -> None:
        """Close the file."""
        self._lines.close()
