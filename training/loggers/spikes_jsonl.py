"""spikes.jsonl: one JSON object for each loss spike and each skipped step, with its samples and their documents."""

from __future__ import annotations

from pathlib import Path

from training.loggers import Event, Logger
from training.loggers.json_lines import JsonLines

KINDS = ("spike", "skipped")


class SpikesFile(Logger):
    """Appends to `path`, which is made at the first spike."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: JsonLines | None = None

    def note(self, event: Event) -> None:
        """A line, when the event is a spike or a skipped step."""
        if event["event"] in KINDS:
            self._lines = self._lines or JsonLines(self._path)
            self._lines.write(event)

    def save(self) -> None:
        """Force the lines to the disk."""
        if self._lines:
            self._lines.sync()

    def close(self) -> None:
        """Close the file."""
        if self._lines:
            self._lines.close()
