"""The output while it grows: rows are appended to a file beside it, which takes its name when all are there.

A kill leaves the first rows, perhaps half a row behind them, and beside them what they were made from: the next run
cuts the half row off and goes on.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foundation import atomic
from foundation.errors import UserError
from foundation.failpoints import failpoint
from foundation.locks import DirectoryLock
from generation.batch_file.made_from import MadeFrom, refuse_other

SYNCED_EVERY = 1.0
"""Seconds between two calls that force rows to the disk: a kill loses none, a power failure at most these."""


class RowFile:
    """Rows of JSON for `path`, in order. Use `grow`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = path.with_name(f"{path.name}.partial")
        self.sidecar = path.with_name(f"{path.name}.made-from.json")
        self.kept = self.bad = self.torn = 0
        """Rows that an earlier run wrote; rows of all that are errors; bytes that were no whole row."""
        self.complete = False
        self._file: int | None = None
        self._synced = time.monotonic()

    @contextmanager
    def grow(self, made_from: MadeFrom, numbers: Iterator[int], overwrite: bool) -> Iterator[MadeFrom]:
        """Within the block, `write` takes the rows that are missing. Gives what the rows are made from.

        `numbers` are the lines of the input, which rows that are there must have. `UserError` where the path holds
        rows of something else, or another process writes them.
        """
        lock = self.path.with_name(f".{self.path.name}.lock")
        with DirectoryLock(lock, f"writing {self.path.name}"):
            made_from = self._begin(made_from, numbers, overwrite)
            try:
                yield made_from
            finally:
                if self._file is not None:
                    os.close(self._file)
                    self._file = None
            if not self.complete:
                self._publish()
            lock.unlink(missing_ok=True)

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a row; when this returns, a kill cannot take it back."""
        assert self._file is not None, "outside of `grow`"
        data = (json.dumps(row, ensure_ascii=False) + "\n").encode()
        with atomic.naming(self.partial):
            half = os.write(self._file, data[: len(data) // 2])
            failpoint("batch.row", self.partial)
            while half < len(data):
                half += os.write(self._file, data[half:])
            if time.monotonic() - self._synced > SYNCED_EVERY:
                os.fsync(self._file)
                self._synced = time.monotonic()
        self.bad += "error" in row

    def _begin(self, now: MadeFrom, numbers: Iterator[int], overwrite: bool) -> MadeFrom:
        was = MadeFrom.read(self.sidecar)
        begun = self.partial.exists()
        started = self.path.exists() or (begun and self.partial.stat().st_size > 0)
        if overwrite or not started:
            self._start(now)
            return now
        if was is None:
            raise UserError(
                f"{self.path}: rows are there, and nothing says what they were made from ({self.sidecar.name} is "
                "missing); give another --output, or --overwrite to start anew"
            )
        refuse_other(self.path, was, now)
        if begun:
            self._go_on(numbers)
        else:
            self._count(self.path, numbers)
            if next(numbers, None) is not None:
                raise UserError(f"{self.path}: rows are missing or changed; --overwrite makes them anew")
            self.complete = True
        return was

    def _start(self, now: MadeFrom) -> None:
        """The file of rows comes first: were it the other way round, a crash between the two would let the old output
        pass for one that was made from `now`."""
        self._file = os.open(self.partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        failpoint("batch.start", self.partial)
        now.write(self.sidecar)

    def _go_on(self, numbers: Iterator[int]) -> None:
        end = self._count(self.partial, numbers)
        self._file = os.open(self.partial, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self.torn = os.fstat(self._file).st_size - end
        os.ftruncate(self._file, end)

    def _count(self, path: Path, numbers: Iterator[int]) -> int:
        """Count the rows that are whole and in order; the byte where they end."""
        end = 0
        with path.open("rb") as rows:
            for raw in rows:
                row = _whole(raw)
                if row is None or row.get("line") != next(numbers, None):
                    break
                self.kept += 1
                self.bad += "error" in row
                end += len(raw)
        return end

    def _publish(self) -> None:
        atomic.fsync_file(self.partial)
        failpoint("batch.publish", self.partial)
        with atomic.naming(self.path):
            os.replace(self.partial, self.path)
        atomic.fsync_directory(self.path.parent)


def _whole(raw: bytes) -> dict[str, Any] | None:
    """The row that a line holds; None for half of one."""
    if not raw.endswith(b"\n"):
        return None
    try:
        row = json.loads(raw)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
