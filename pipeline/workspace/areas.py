"""What the work areas beside the datasets are: whose, with which settings, how far, how large, how old."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from foundation.atomic import TEMPORARY_PREFIX
from foundation.errors import UserError
from foundation.locks import DirectoryLock
from pipeline.workspace.journal import Journal
from pipeline.workspace.parts import Part
from pipeline.workspace.place import Place
from shards.manifest import Manifest


@dataclass(frozen=True)
class WorkArea:
    """One directory of `dataset/.work`. `label` is the dataset's name, or its path or URL where several share the
    directory; None where the description is missing or unreadable. `url`: that of the work this is a cache of."""

    directory: Path
    label: str | None
    settings: dict[str, Any]
    url: str | None = None

    @property
    def dataset(self) -> str | None:
        """Name of the dataset."""
        return None if self.label is None else self.label.rstrip("/").rpartition("/")[2]

    @cached_property
    def _journal(self) -> Journal | None:
        try:
            journals = sorted(self.directory.glob("journal-*.jsonl"))  # of slices
            return Journal(self.directory / "journal.jsonl", journals)
        except (ValueError, KeyError):
            return None

    @property
    def finished(self) -> bool:
        """Whether its last work was published."""
        return self._journal is not None and self._journal.published is not None

    @property
    def published(self) -> str | None:
        """Identity of the dataset that was published from it last."""
        return self._journal.published if self._journal else None

    def parts(self) -> list[Part]:
        """The parts that the journal vouches for. Reads their counters."""
        if self._journal is None:
            return []
        parts = [Part(self.directory / "parts" / key) for key in sorted(self._journal.parts)]
        return [part for part in parts if self._is_committed(part)]

    def _is_committed(self, part: Part) -> bool:
        try:
            return self._journal is not None and self._journal.commits(part.directory.name, part.checksum())
        except OSError:  # it is gone
            return False

    @property
    def state(self) -> str:
        """Finished, half done, or damaged; for a cache of work at a URL, where that is."""
        if self._journal is None or self.dataset is None:
            return "damaged"
        if self.url is not None and not self._journal.parts:
            return f"a cache of {self.url}"
        return "finished" if self.finished else f"half done, {len(self._journal.parts)} tasks"

    @property
    def made_the_dataset(self) -> bool:
        """Whether the dataset there now is the one published from it."""
        if self.label is None or not self.finished:
            return False
        place = Path(self.label) if "/" in self.label else self.directory.parents[1] / self.label
        try:
            return Manifest.load(place).identity == self.published
        except UserError:
            return False

    @cached_property
    def bytes(self) -> int:
        """Size of its files."""
        return tree_bytes(self.directory)

    @cached_property
    def age(self) -> float:
        """Seconds since something in it was written."""
        times = [self.directory.stat().st_mtime, *(path.stat().st_mtime for path in self.directory.iterdir())]
        return max(0.0, time.time() - max(times))

    @property
    def locks(self) -> list[Path]:
        """The lock file of its dataset; where its description does not tell whose it is, all of the directory, one of
        which is its own."""
        if self.label is None or self.dataset is None:
            return sorted(self.directory.parent.glob("*.lock"))
        return [Place(self.dataset, self.label, None, None, self.directory.parent, None).lock]

    @property
    def owner(self) -> str | None:
        """The running process that works on its dataset, or may do so; None when none does."""
        return next(filter(None, map(holder, self.locks)), None)


def holder(lock: Path) -> str | None:
    """Who holds a lock, as its file says; None when nobody does."""
    if not lock.exists():
        return None
    with suppress(UserError, PermissionError), DirectoryLock(lock, "looking"):  # the latter: it is another user's
        return None
    try:
        return lock.read_text(errors="replace").strip() or "another process"
    except OSError:
        return "another process"


def find_areas(root: Path) -> list[WorkArea]:
    """The work areas in `root`, by name; none where it does not exist."""
    if not root.is_dir():
        return []
    return [
        _read(path) for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith(TEMPORARY_PREFIX)
    ]


def _read(directory: Path) -> WorkArea:
    try:
        value = json.loads((directory / "work.json").read_bytes())
        return WorkArea(directory, str(value["output"]), dict(value["settings"]), value.get("work_url"))
    except (OSError, ValueError, KeyError, TypeError):
        return WorkArea(directory, None, {})


def tree_bytes(directory: Path) -> int:
    """Bytes of all files below `directory`, hard links counted once; what vanishes meanwhile counts nothing."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                status = os.lstat(os.path.join(folder, name))
            except FileNotFoundError:
                continue
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                total += status.st_size
    return total


def human_size(size: float) -> str:
    """Bytes for people."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def human_age(seconds: float) -> str:
    """A duration for people, in its largest unit."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
