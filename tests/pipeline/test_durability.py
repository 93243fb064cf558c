"""The order of write, fsync, rename and directory fsync, from a trace of the process's system calls."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.config import PipelineConfig
from pipeline.process import process

from .conftest import ROOT, arguments

HERE = r"(?:AT_FDCWD(?:<[^>]*>)?, )?"


class Event(NamedTuple):
    """`kind` is write, fsync or rename (path is then the source, target the destination)."""

    kind: str
    path: str
    target: str = ""


def check_order(events: list[Event], area: Path) -> int:
    """Assert the rule for every rename into `area`; return how many there were.

    Every file renamed (itself, or inside a renamed directory) was synced after its last write, and the directory that
    got the name is synced after the rename and before the next journal record or manifest.
    """
    renames = 0
    for place, event in enumerate(events):
        if event.kind != "rename" or not event.target.startswith(str(area)):
            continue
        renames += 1
        last: dict[str, str] = {}
        for earlier in events[:place]:
            if earlier.path == event.path or earlier.path.startswith(event.path + "/"):
                last[earlier.path] = earlier.kind
        unsynced = [path for path, kind in last.items() if kind == "write"]
        assert not unsynced, f"renamed before synced: {unsynced}"
        parent = os.path.dirname(event.target)
        for later in events[place + 1 :]:
            if later.kind == "fsync" and later.path == parent:
                break
            assert not later.path.endswith("journal.jsonl"), f"recorded before {parent} was synced"
            assert not later.target.endswith("manifest.json"), f"published before {parent} was synced"
        else:
            raise AssertionError(f"{parent} was never synced after the rename to {event.target}")
    return renames


def test_trace_of_system_calls(small: PipelineConfig, tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed; the order is checked from Python's calls in the test below")
    trace = tmp_path / "trace"
    calls = "trace=write,pwrite64,fsync,fdatasync,rename,renameat,renameat2"
    command = [sys.executable, "-m", "pipeline.process", *arguments(small)]
    subprocess.run(
        ["strace", "-f", "-y", "-s", "0", "-e", calls, "-o", str(trace), *command],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, capture_output=True, timeout=240,
    )  # fmt: skip
    events = []
    for line in trace.read_text().splitlines():
        if match := re.match(r"\d+ +(write|pwrite64|fsync|fdatasync)\(\d+<([^>]+)>", line):
            events.append(Event("fsync" if "sync" in match[1] else "write", match[2]))
        elif match := re.match(
            r'\d+ +rename\w*\((?:AT_FDCWD(?:<[^>]*>)?, )?"([^"]+)", (?:AT_FDCWD(?:<[^>]*>)?, )?"([^"]+)"', line
        ):
            events.append(Event("rename", match[1], match[2]))
    assert check_order(events, small.output.parent) > 20
    manifest = [place for place, e in enumerate(events) if e.target.endswith("manifest.json")]
    shards = [
        place for place, e in enumerate(events) if e.kind == "rename" and re.search(r"\.(bin|idx|npy)$", e.target)
    ]
    assert len(manifest) == 1 and shards and max(shards) < manifest[0], "the manifest comes last"


def test_trace_of_python_calls(small: PipelineConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent's part of the same rule, where no tracer is installed: journal, shards, tokenizer, manifest."""
    events: list[Event] = []
    real = {name: getattr(os, name) for name in ("fsync", "rename", "replace", "pwrite")}

    def path_of(descriptor: int) -> str:
        return os.readlink(f"/proc/self/fd/{descriptor}")

    def fsync(descriptor: int) -> None:
        events.append(Event("fsync", path_of(descriptor)))
        real["fsync"](descriptor)

    def rename(source: object, target: object) -> None:
        events.append(Event("rename", str(source), str(target)))
        real["rename"](source, target)

    def pwrite(descriptor: int, data: bytes, offset: int) -> int:
        events.append(Event("write", path_of(descriptor)))
        return int(real["pwrite"](descriptor, data, offset))

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    monkeypatch.setattr(os, "replace", rename)
    monkeypatch.setattr(os, "pwrite", pwrite)
    process(small)
    assert check_order(events, small.output.parent) > 10
    for place, event in enumerate(events):
        if event.kind == "rename":
            assert Event("fsync", event.path) in events[:place] or any(
                e.kind == "fsync" and e.path.startswith(event.path) for e in events[:place]
            ), f"{event.path} was renamed without a sync"


def test_the_check_notices_a_missing_sync(tmp_path: Path) -> None:
    area = str(tmp_path)
    good = [Event("write", f"{area}/t"), Event("fsync", f"{area}/t"), Event("rename", f"{area}/t", f"{area}/f")]
    assert check_order([*good, Event("fsync", area)], tmp_path) == 1
    with pytest.raises(AssertionError, match="never synced"):
        check_order(good, tmp_path)
    with pytest.raises(AssertionError, match="before synced"):
        check_order([good[0], good[2], Event("fsync", area)], tmp_path)
