"""history.jsonl: when the run was started, on what, what happened to it, how each stretch of it ended.

It is the one file of a run that a resume does not cut back: it tells what happened, also what was lost.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from training.loggers import Event, Logger
from training.loggers.json_lines import JsonLines
from training.loggers.spikes_jsonl import KINDS as ELSEWHERE

STARTED = "started"
ENDINGS = ("finished", "stopped", "diverged", "failed")
"""Events that end a stretch. One that has none was killed."""


class RunHistory(Logger):
    """Appends to `path` the event `started` with `facts`, then every event, each with the time (seconds since 1970)."""

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self._lines, self._facts = JsonLines(path), facts
        self._ended = True  # nothing has begun

    def begin(self) -> None:
        """Say so."""
        self._ended = False
        self.note({"event": STARTED, **self._facts})
        self._lines.sync()

    def note(self, event: Event) -> None:
        """A line with the event; spikes and skipped steps have a file of their own."""
        if event["event"] in ELSEWHERE:
            return
        self._ended = self._ended or event["event"] in ENDINGS
        self._lines.write({"time": round(time.time(), 3), **event})

    def save(self) -> None:
        """Force the events to the disk."""
        self._lines.sync()

    def close(self) -> None:
        """Say that the stretch failed when it ends without having said how."""
        if not self._ended:
            error = sys.exc_info()[1]
            reason = f"{type(error).__name__}: {error}" if error is not None else "no reason is known"
            self.note({"event": "failed", "reason": reason[:500]})
        self._lines.close()
