"""Copy to the work area what worker processes could not read themselves: memory://, and web servers without ranges."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from foundation import atomic, fingerprint
from pipeline.sources import files
from pipeline.sources.base import InputFile

PROCESS_LOCAL = ("memory",)
"""Protocols whose files no other process can see."""


def stage(inputs: list[InputFile], directory: Path) -> list[InputFile]:
    """The inputs, those that need it replaced by copies in `directory`. A copy is kept while its original is the same,
    and its time of change comes from its content, so that its tasks are known again."""
    remote = [file for file in inputs if files.is_url(file.path)]
    with ThreadPoolExecutor(files.REMOTE_THREADS) as pool:
        unreadable = zip(remote, pool.map(_is_unreadable, remote), strict=True)
        copied = {file.path: _copied(file, directory) for file, needed in unreadable if needed}
    return [copied.get(file.path, file) for file in inputs]


def _is_unreadable(file: InputFile) -> bool:
    """Whether a remote file can only be read from front to back, or by this process alone."""
    protocol = files.protocol(file.path)
    if protocol in PROCESS_LOCAL:
        return True
    if file.identity is not None and protocol not in files.WEB:
        return False
    fs, inside = files.filesystem(file.path)
    with files.explained(file.path):
        size = fs.info(inside).get("size") if file.identity is None else file.identity.size
        return size is None or (protocol in files.WEB and not _gives_ranges(fs, inside, size))


def _gives_ranges(fs: Any, inside: str, size: int) -> bool:
    """Whether a web server gives a part of a file when it is asked for one. Many that do not (Python's own) keep
    silent about it in their headers, so it is tried."""
    if size < 2:
        return True
    try:
        with fs.open(inside, "rb", block_size=1, cache_type="none", size=size) as file:
            file.seek(1)
            return len(file.read(1)) == 1
    except ValueError:  # fsspec's: the server began from the start
        return False


def _copied(file: InputFile, directory: Path) -> InputFile:
    identity = files.identify(file.path)
    known = fingerprint.of_json([file.path, *identity])[:16]
    place = directory / f"{known}-{PurePosixPath(file.name).name}"
    if not (place.exists() and identity.stamp):
        fs, inside = files.filesystem(file.path)
        options = {"block_size": 0} if files.protocol(file.path) in files.WEB else {}  # one request, no ranges
        with (
            files.explained(file.path),
            fs.open(inside, "rb", **options) as source,
            atomic.atomic_path(place) as temporary,
        ):
            with temporary.open("wb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
            stamp = int(fingerprint.of_file(temporary)[:15], 16)  # up to 36 years in nanoseconds
            os.utime(temporary, ns=(stamp, stamp))
    return replace(file, path=str(place), identity=None)
