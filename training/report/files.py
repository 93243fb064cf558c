"""What a run's directory says, read for the report. Whatever is missing or damaged is left out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.loggers import Event, Row
from training.loggers.json_lines import read_lines
from training.loggers.run_history import ENDINGS, STARTED
from training.saving import checkpoint
from training.saving.run_directory import BEST, FINAL, HISTORY, METRICS, SAMPLES, SPIKES


@dataclass(frozen=True)
class Stretch:
    """The run from one start to the next: the event that began it, and those that followed."""

    started: Event
    events: tuple[Event, ...]

    @property
    def ending(self) -> Event | None:
        """The event that ended it; None for one that is going on, or was killed."""
        return next((event for event in reversed(self.events) if event["event"] in ENDINGS), None)

    @property
    def last(self) -> Event:
        """The newest that was heard of it."""
        return self.events[-1] if self.events else self.started

    @property
    def last_step(self) -> int:
        """The last step that an event speaks of."""
        return max(int(event.get("step") or 0) for event in (self.started, *self.events))

    @property
    def seconds(self) -> float:
        """From its start to the last event."""
        return max(0.0, float(self.last.get("time", 0)) - float(self.started.get("time", 0)))

    @property
    def times(self) -> dict[str, float]:
        """Seconds of each part of the work, as the last event that knows them says."""
        known = [event["seconds"] for event in self.events if isinstance(event.get("seconds"), dict)]
        return known[-1] if known else {}


@dataclass(frozen=True)
class RunFiles:
    """The contents of a run directory."""

    path: Path
    rows: list[Row]
    samples: list[dict[str, Any]]
    faults: list[dict[str, Any]]
    """Spikes and skipped steps, each with its samples and where they come from."""
    stretches: list[Stretch]
    saved: list[tuple[str, int]]
    """Checkpoints and models that lie there: name and size in bytes."""

    @property
    def facts(self) -> Event:
        """What the newest start said about the run; empty when there is no history."""
        return self.stretches[-1].started if self.stretches else {}

    @classmethod
    def read(cls, path: Path) -> RunFiles:
        """Read the directory `path`."""
        return cls(
            path,
            [row for row in read_lines(path / METRICS) if _is_row(row)],
            [row for row in read_lines(path / SAMPLES) if isinstance(row.get("text"), str)],
            [row for row in read_lines(path / SPIKES) if isinstance(row.get("step"), int)],
            _stretches(read_lines(path / HISTORY)),
            _saved(path),
        )


def _is_row(line: dict[str, Any]) -> bool:
    return isinstance(line.get("step"), int) and isinstance(line.get("tokens"), int) and "loss" in line


def _stretches(events: list[Event]) -> list[Stretch]:
    found: list[tuple[Event, list[Event]]] = []
    for event in events:
        if event.get("event") == STARTED:
            found.append((event, []))
        elif found and "event" in event:
            found[-1][1].append(event)
    return [Stretch(started, tuple(rest)) for started, rest in found]


def _saved(path: Path) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for file in sorted((path / checkpoint.DIRECTORY).glob("step_*.pth"), key=lambda file: _number(file.name)):
        found.append((f"{checkpoint.DIRECTORY}/{file.name}", _size(file)))
    for name in (BEST, FINAL):
        if (path / name).is_dir():
            found.append((f"{name}/", sum(_size(file) for file in (path / name).iterdir())))
    return found


def _number(name: str) -> int:
    return int((re.findall(r"[0-9]+", name) or ["0"])[-1])


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # removed in the meantime
        return 0
