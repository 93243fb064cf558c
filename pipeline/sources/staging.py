"""Copy to the work area what worker processes could not read themselves: memory://, and web servers without ranges."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path, PurePosixPath

from foundation import atomic, fingerprint
from pipeline.sources import files
from pipeline.sources.base import InputFile

PROCESS_LOCAL = ("memory",)
"""Protocols whose files no other process can see."""


def stage(inputs: list[InputFile], directory: Path) -> list[InputFile]:
    """The inputs, those that need it replaced by copies in `directory`. A copy is kept while its original is the same,
    and has a fixed time of change, so that its tasks are known again."""
    return [_copied(file, directory) if files.is_url(file.path) and _unreadable(file.path) else file for file in inputs]


def _unreadable(url: str) -> bool:
    protocol = files.protocol(url)
    if protocol in PROCESS_LOCAL:
        return True
    if protocol not in ("http", "https"):
        return False
    fs, inside = files.filesystem(url)
    with files.explained(url):
        info = fs.info(inside)
    return not info.get("partial") or info.get("size") is None


def _copied(file: InputFile, directory: Path) -> InputFile:
    identity = files.identify(file.path)
    known = fingerprint.of_json([file.path, *identity])[:16]
    place = directory / f"{known}-{PurePosixPath(file.name).name}"
    if not (place.exists() and identity.stamp):
        fs, inside = files.filesystem(file.path)
        with (
            files.explained(file.path),
            fs.open(inside, "rb") as source,
            atomic.atomic_path(place) as temporary,
            temporary.open("wb") as copy,
        ):
            shutil.copyfileobj(source, copy, 1 << 20)
        os.utime(place, ns=(0, 0))
    return replace(file, path=str(place), identity=None)
