"""Files with one JSON object a line: appended to, synced before checkpoints, read back by people's pages."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from foundation.atomic import naming


class JsonLines:
    """Appends objects to `path`, behind its last whole line. Each line goes to the system at once; an error names the
    file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with naming(path):
            _cut_half_line(path)
            self._file = path.open("a", encoding="utf-8", newline="\n")

    def write(self, value: dict[str, Any]) -> None:
        """One line; a number that is not finite, which JSON cannot hold, becomes null."""
        with naming(self._path):
            self._file.write(json.dumps(finite(value), allow_nan=False, ensure_ascii=False) + "\n")
            self._file.flush()

    def sync(self) -> None:
        """Force the lines to the disk."""
        with naming(self._path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        with naming(self._path):
            self._file.close()


def _cut_half_line(path: Path) -> None:
    """Remove what a full disk or a kill left of a line: the next one would be glued to it, and both be lost."""
    if not path.exists() or not path.stat().st_size:
        return
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read() == b"\n":
            return
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def finite(value: Any) -> Any:
    """`value` with null in the place of every number that is not finite."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def lines_of(path: Path) -> list[str]:
    """The lines of a file with their ends. A text may hold other characters that `splitlines` would cut at."""
    with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        return list(file)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file; a last line that is not whole is left out. A file that is not there has none."""
    found = []
    for line in lines_of(path) if path.exists() else ():
        try:
            value = json.loads(line) if line.endswith("\n") else None
        except ValueError:
            value = None
        if isinstance(value, dict):
            found.append(value)
    return found
