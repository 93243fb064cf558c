"""The journal: what is committed. Append-only JSON lines; each line is synced before the next step relies on it.

Events: `part` (key, checksum, engine), `engine` (the fast engine was found wrong), `published` (dataset identity and
plan). Each process that maps a slice writes a journal of its own; what they say together does not depend on their
order.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from foundation import atomic
from foundation.failpoints import failpoint


class Journal:
    """Opening reads what is there (and in the journals of `others`); asking changes nothing, and the torn last line of
    a crash is cut by the next append."""

    def __init__(self, path: Path, others: Iterable[Path] = ()) -> None:
        self.path = path
        self._parts: dict[str, dict[str, str]] = {}  # key -> checksum -> engine
        self._engine: str | None = None
        self.reference_reason: str | None = None
        """The text on which the fast engine was found wrong: parts of that engine count no longer."""
        self.published: str | None = None
        """Identity of the dataset published last."""
        self.plan: str | None = None
        """Fingerprint of the plan it was made from."""
        for other in others:
            self._read(other)
        self._valid = self._read(path)

    def _apply(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "part":
                self._parts.setdefault(event["key"], {})[event["checksum"]] = event["engine"]
            case "engine":
                self.reference_reason, self._engine = event["reason"], event["engine"]
            case "published":
                self.published, self.plan = event["identity"], event.get("plan")

    @property
    def parts(self) -> set[str]:
        """Keys of the committed parts."""
        return {key for key, made in self._parts.items() if self._engine is None or self._engine in made.values()}

    def commits(self, key: str, checksum: str) -> bool:
        """Whether the part `key` with this checksum is committed."""
        engine = self._parts.get(key, {}).get(checksum)
        return engine is not None and self._engine in (None, engine)

    def _read(self, path: Path) -> int:
        """Apply the whole lines; their bytes."""
        data = path.read_bytes() if path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]
        for line in whole.splitlines():
            self._apply(json.loads(line))
        return len(whole)

    def append(self, event: str, **values: Any) -> None:
        """Record an event durably."""
        failpoint("journal.before_append", self.path)
        record = {"event": event, **values}
        data = (json.dumps(record) + "\n").encode()
        new = not self.path.exists()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            with atomic.naming(self.path):
                os.ftruncate(descriptor, self._valid)
                if os.pwrite(descriptor, data, self._valid) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if new:
            atomic.fsync_directory(self.path.parent)
        self._valid += len(data)
        self._apply(record)
        failpoint("journal.after_append", self.path)
