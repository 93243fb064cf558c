"""The work area `dataset/.work/FINGERPRINT/`: a cache of parts with a journal, safe to delete when nothing runs."""

from __future__ import annotations

import json
import shutil
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from foundation import atomic, fingerprint
from foundation.locks import DirectoryLock
from pipeline.mapping.encode import REFERENCE
from pipeline.mapping.setup import Mapped
from pipeline.mapping.versions import versions
from pipeline.sources.base import Task
from pipeline.workspace.journal import Journal
from pipeline.workspace.part_store import PartStore
from pipeline.workspace.parts import Part
from pipeline.workspace.place import Place

WHOLE = "all"
"""Name of the run that is no slice."""


class Work:
    """The work of one dataset under one configuration. `settings` is what changes the bytes (tokenizer included);
    `name` tells the processes apart that map slices of it."""

    def __init__(self, place: Place, settings: dict[str, Any], name: str = WHOLE) -> None:
        self.place, self.settings, self.name = place, settings, name
        self.versions = versions(settings)
        """What parts are made with now."""
        self._identity = {"output": place.label, "settings": settings}
        self.directory = place.work_root / fingerprint.of_json(self._identity)[:32]
        self.staged = self.directory / "staged" / place.name
        """Where a dataset is built that is published at a URL."""
        self.store = PartStore(self.directory / "parts", self.directory / "staging" / name)
        self.tokenizer = self.directory / "tokenizer"
        suffix = "" if name == WHOLE else f"-{name}"
        self.log = self.directory / f"process{suffix}.log"
        self.timings = self.directory / f"timings{suffix}.json"
        self._journal_path = self.directory / f"journal{suffix}.jsonl"

    @property
    def shown(self) -> str:
        """Where the work is, for messages."""
        return str(self.directory)

    def lock(self) -> AbstractContextManager[object]:
        """The lock that a slice holds, so that the same slice never runs twice."""
        return DirectoryLock(self._lock_path(self.name), f"making slice {self.name} of {self.place.name}")

    def tokenizer_lock(self) -> AbstractContextManager[object]:
        """Held while the tokenizer is made; slices wait here for the one that came first."""
        if self.name == WHOLE:  # no slice can be running
            return nullcontext()
        return DirectoryLock(self._lock_path("tokenizer"), "training the tokenizer", wait=True)

    def _lock_path(self, what: str) -> Path:
        return self.place.work_root / f"{self.directory.name}-{what}.lock"

    def exists(self) -> bool:
        """Whether earlier work is there."""
        return (self.directory / "work.json").exists()

    def discard(self) -> None:
        """Remove earlier work."""
        if self.directory.exists():
            shutil.rmtree(self.directory)

    def open(self) -> None:
        """Create what is missing, remove what was interrupted, and read the journals."""
        self.store.directory.mkdir(parents=True, exist_ok=True)
        self.remove_temporaries()
        if not self.exists():
            atomic.write_json(self.directory / "work.json", self._identity)
        others = sorted(path for path in self.directory.glob("journal*.jsonl") if path != self._journal_path)
        self._journal = Journal(self._journal_path, others)

    def remove_temporaries(self) -> None:
        """Remove what interrupted processes left: this slice's own, or all of them when no slice can be running."""
        staging = self.store.staging if self.name != WHOLE else self.store.staging.parent
        shutil.rmtree(staging, ignore_errors=True)
        if self.name == WHOLE:
            atomic.remove_temporaries(self.directory)

    def part(self, task: Task) -> Part:
        """The part of a task, whether or not it is there."""
        return self.store.part(task.key)

    def versions_of(self, task: Task) -> dict[str, str] | None:
        """What the task's part was made with; None where the journal has committed none."""
        part = self.part(task)
        try:
            return part.summary().versions if self._journal.commits(task.key, part.checksum()) else None
        except FileNotFoundError:
            return None

    def is_done(self, task: Task) -> bool:
        """Whether the task's part is committed, made with the versions of now, and still whole on the disk. Reads
        it."""
        try:
            return self.versions_of(task) == self.versions and self.part(task).is_whole()
        except FileNotFoundError:
            return False

    @property
    def mismatch(self) -> str | None:
        """The text on which the fast engine was found wrong, here or in another slice."""
        return self._journal.reference_reason

    def commit_part(self, task: Task, mapped: Mapped) -> None:
        """A part is there: record it."""
        self._journal.append("part", key=task.key, checksum=mapped.checksum, engine=mapped.engine)

    def commit_mismatch(self, text: str) -> None:
        """The fast engine is wrong on `text`: its parts count no longer."""
        self._journal.append("engine", engine=REFERENCE, reason=text)

    def has_published(self, identity: str, plan: str) -> bool:
        """Whether the dataset of this identity was published last, from this very plan."""
        return (self._journal.published, self._journal.plan) == (identity, plan)

    def commit_published(self, identity: str, plan: str) -> None:
        """The dataset is whole in its place."""
        self._journal.append("published", identity=identity, plan=plan)

    def fetch_tokenizer(self) -> None:
        """Bring the tokenizer here that another machine has made; on a shared file system it is here already."""

    def share_tokenizer(self) -> None:
        """Put the tokenizer where the other machines find it; on a shared file system it is there already."""

    def add_timings(self, seconds: dict[str, float]) -> None:
        """Write the time each step took in this run."""
        atomic.write_text(self.timings, json.dumps(seconds, indent=1) + "\n")
