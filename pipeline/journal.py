"""The journal: what is committed. Append-only JSON lines; each line is synced before the next step relies on it.

Events: `part` (key, checksum, engine), `engine` (the fast engine was found wrong), `published` (dataset identity).
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

from foundation import atomic
from foundation.failpoints import failpoint


class Journal:
    """Opening reads what is there and cuts a torn last line; asking changes nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parts: dict[str, dict[str, Any]] = {}
        self.reference_reason: str | None = None
        self.published: str | None = None
        self._read()

    def _read(self) -> None:
        data = self.path.read_bytes() if self.path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]
        for line in whole.splitlines():
            self._apply(json.loads(line))
        self._valid = len(whole)

    def _apply(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "part":
                self.parts[event["key"]] = event
                self.published = None
            case "engine":
                self.reference_reason = event["reason"]
                self.parts = {k: part for k, part in self.parts.items() if part["engine"] == event["engine"]}
            case "published":
                self.published = event["identity"]

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
