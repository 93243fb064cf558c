"""metrics.jsonl: one JSON object a logged step, for programs."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

from training.loggers import Row


class MetricsFile:
    """Appends rows to `path`. Each line goes to the system at once and is synced before every checkpoint."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8", newline="\n")

    def log(self, row: Row) -> None:
        """One line; a number that is not finite, which JSON cannot hold, becomes null."""
        plain = {key: _finite(value) for key, value in row.items()}
        self._file.write(json.dumps(plain, allow_nan=False) + "\n")
        self._file.flush()

    def save(self) -> None:
        """A checkpoint must never be newer than the metrics before it."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
