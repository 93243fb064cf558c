"""A work area at a URL, for slices on machines that share no file system.

URL/FINGERPRINT/parts/KEY/…  the files of a part, `summary.json` last: a part counts when that one is there
URL/FINGERPRINT/tokenizer/…  the tokenizer, `ready.json` last
URL/FINGERPRINT/engine.json  the text on which the fast engine was found wrong
URL/FINGERPRINT/published.json, work.json

An object store appends to nothing and locks nothing: every event is one object, and two processes that do the same
put the same bytes.
"""

from __future__ import annotations

import json
import shutil
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from foundation import atomic, fingerprint
from pipeline.mapping.encode import REFERENCE
from pipeline.mapping.setup import Mapped
from pipeline.sources.base import Task
from pipeline.workspace.area import WHOLE, Work
from pipeline.workspace.part_store import PartCache, RemotePart
from pipeline.workspace.parts import SUMMARY, Part
from pipeline.workspace.place import Place
from pipeline.workspace.storage import Storage

READY, ENGINE, PUBLISHED, IDENTITY = "tokenizer/ready.json", "engine.json", "published.json", "work.json"


class RemoteWork(Work):
    """See `Work`. The local directory holds what is being made and a cache of what was fetched."""

    def __init__(self, place: Place, settings: dict[str, Any], name: str = WHOLE) -> None:
        super().__init__(place, settings, name)
        self._storage = Storage(f"{place.work_url}/{self.directory.name}")
        self.store = replace(self.store, url=f"{self._storage.url}/parts")
        self._cache = PartCache(Storage(f"{self._storage.url}/parts"), self.directory / "fetched" / name)

    @property
    def shown(self) -> str:
        """Where the work is, for messages."""
        return self._storage.url

    def exists(self) -> bool:
        """Whether earlier work is there."""
        return self._storage.read(IDENTITY) is not None

    def discard(self) -> None:
        """Remove earlier work."""
        super().discard()
        for name in self._storage.sizes():
            self._storage.remove(name)

    def lock(self) -> AbstractContextManager[object]:
        """No lock: a slice that runs twice puts the same bytes twice."""
        return nullcontext()

    def open(self) -> None:
        """Read what is there with one listing."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.remove_temporaries()
        if not super().exists():  # for who looks through this machine's work areas
            atomic.write_json(self.directory / IDENTITY, {**self._identity, "work_url": self._storage.url})
        self._cache.clear()  # what a killed process had fetched
        if not self.exists():
            self._storage.write(IDENTITY, (json.dumps(self._identity, indent=2) + "\n").encode())
        self._there = self._storage.sizes()
        self._mismatch = self._event(ENGINE)
        self._published = self._event(PUBLISHED)
        self._summaries: dict[str, dict[str, Any]] | None = None

    def _event(self, name: str) -> dict[str, Any] | None:
        data = self._storage.read(name) if name in self._there else None
        value: dict[str, Any] | None = None if data is None else json.loads(data)
        return value

    def part(self, task: Task) -> Part:
        """The part of a task; its files are fetched when they are read."""
        return RemotePart(self._cache.directory / task.key, self._cache)

    def versions_of(self, task: Task) -> dict[str, str] | None:
        """What the part was made with; None where none was put, or only by an engine that is wrong."""
        if self._summaries is None:  # of all parts at once
            names = [name for name in self._there if name.startswith("parts/") and name.endswith(f"/{SUMMARY}")]
            found = zip(names, self._storage.read_all(names), strict=True)
            self._summaries = {name.split("/")[1]: json.loads(data) for name, data in found}
        summary = self._summaries.get(task.key)
        if summary is None or (self._mismatch is not None and summary["engine"] != REFERENCE):
            return None
        made: dict[str, str] = summary.get("versions", {})
        return made

    def is_done(self, task: Task) -> bool:
        """Whether the part was put, made with the versions of now and by no engine that is wrong."""
        return self.versions_of(task) == self.versions

    @property
    def mismatch(self) -> str | None:
        """The text on which the fast engine was found wrong, here or on another machine."""
        return None if self._mismatch is None else str(self._mismatch["reason"])

    def commit_part(self, task: Task, mapped: Mapped) -> None:
        """The worker has put the part, counters last; nothing more is to be recorded."""
        self._there[f"parts/{task.key}/{SUMMARY}"] = 0
        if self._summaries is not None:
            self._summaries[task.key] = {"engine": mapped.engine, "versions": self.versions}
        shutil.rmtree(self._cache.directory / task.key, ignore_errors=True)

    def commit_mismatch(self, text: str) -> None:
        """The fast engine is wrong on `text`: its parts count no longer."""
        self._mismatch = {"reason": text}
        self._storage.write(ENGINE, json.dumps(self._mismatch).encode())

    def has_published(self, identity: str, plan: str) -> bool:
        """Whether the dataset of this identity was published last, from this very plan."""
        return self._published == {"identity": identity, "plan": plan}

    def commit_published(self, identity: str, plan: str) -> None:
        """The dataset is whole in its place."""
        self._published = {"identity": identity, "plan": plan}
        self._storage.write(PUBLISHED, json.dumps(self._published).encode())
        self._cache.clear()

    def fetch_tokenizer(self) -> None:
        """Bring the tokenizer here that another machine has put."""
        shutil.rmtree(self.tokenizer, ignore_errors=True)  # perhaps of work that was removed at the URL since
        if self._storage.read(READY) is None:
            return
        temporary = atomic.temporary_directory(self.directory, self.tokenizer.name)
        for name in self._storage.sizes("tokenizer"):
            if name != READY:
                self._storage.fetch(name, temporary / Path(name).name)
        atomic.replace_directory(temporary, self.tokenizer)

    def share_tokenizer(self) -> None:
        """Put the tokenizer where the other machines find it."""
        if self._storage.read(READY) is not None:
            return
        files = sorted(self.tokenizer.iterdir())
        for path in files:
            self._storage.put(path, f"tokenizer/{path.name}")
        identity = fingerprint.of_json({path.name: fingerprint.of_file(path) for path in files})
        self._storage.write(READY, json.dumps({"fingerprint": identity}).encode())
