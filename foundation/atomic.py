"""Files and directories that are either old or new, never half-written.

Order, everywhere: write beside, fsync the data, rename, fsync the directory that holds the name.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TEMPORARY_PREFIX = ".tmp-"
_TEMPORARY = re.compile(re.escape(TEMPORARY_PREFIX) + r"(?!old-).+-([0-9]+)-[0-9a-f]{8}", re.DOTALL)
"""Names that `temporary_beside` gives, with the number of the process: no other file is taken for one of ours."""
_SYNCED_AT_ONCE = 8
_ABANDONED_SECONDS = 86400


def fsync_file(path: Path) -> None:
    """Force a file's data to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_directory(path: Path) -> None:
    """Force a directory's entries (names) to the disk. Windows cannot open directories and needs no such call."""
    if os.name == "nt":
        return
    fsync_file(path)


def fsync_tree(path: Path) -> None:
    """Force every file below `path`, then every directory, to the disk. Files that wait for the disk together share
    one commit of its file system."""
    files: list[Path] = []
    folders: list[Path] = []
    for folder, _, names in os.walk(path, topdown=False):
        files += [Path(folder, name) for name in sorted(names)]
        folders.append(Path(folder))
    with ThreadPoolExecutor(_SYNCED_AT_ONCE, "sync") as pool:
        list(pool.map(fsync_file, files))
    for each in folders:
        fsync_directory(each)


def temporary_beside(path: Path) -> Path:
    """A fresh name in `path`'s directory, recognisable as temporary, so that a rename stays on one file system."""
    return path.parent / f"{TEMPORARY_PREFIX}{path.name}-{os.getpid()}-{os.urandom(4).hex()}"


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let every operating-system error of the block name `path`: a failed write (disk full) does not say where."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what was written there replaces `path` when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        with naming(path):
            yield temporary
            fsync_file(temporary)
            os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, atomically and durably."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by UTF-8 `text`, atomically and durably."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as indented JSON with a final newline, keys in the order given."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def replace_directory(temporary: Path, final: Path) -> None:
    """Put the finished directory `temporary` in the place of `final` (which may exist). Both lie in one directory.

    POSIX cannot exchange two directories in one portable call: the old one is moved aside first, and
    `recover_directory` puts it back when a crash fell between the two renames.
    """
    assert temporary.parent == final.parent
    fsync_tree(temporary)
    aside = _aside(final)
    recover_directory(final)
    if final.exists():
        os.rename(final, aside)
    try:
        os.rename(temporary, final)
    except BaseException:
        recover_directory(final)
        raise
    fsync_directory(final.parent)
    if aside.exists():
        shutil.rmtree(aside)


def _aside(final: Path) -> Path:
    return final.parent / f"{TEMPORARY_PREFIX}old-{final.name}"


def readable_directory(final: Path) -> Path:
    """Where a reader finds `final`: the old content between the two renames of a `replace_directory`. Nobody but the
    writer may put that back: it may be alive, and about to do its second rename."""
    aside = _aside(final)
    return aside if not final.exists() and aside.is_dir() else final


def recover_directory(final: Path) -> None:
    """Finish or undo a `replace_directory` that a crash interrupted. For the one who writes `final`; readers ask
    `readable_directory`."""
    aside = _aside(final)
    if not aside.exists():
        return
    if final.exists():
        shutil.rmtree(aside)
    else:
        os.rename(aside, final)
        fsync_directory(final.parent)


def remove_temporaries(directory: Path) -> None:
    """Remove what interrupted writes left in `directory` (not below it). The caller holds the directory's lock."""
    for entry, _ in _temporaries(directory):
        _remove(entry)


def remove_abandoned(directory: Path) -> None:
    """The same for who holds no lock: what belongs to a running process of this machine stays, unless nothing of it was
    written for a day (numbers of processes come again)."""
    for entry, process in _temporaries(directory):
        if not _is_running(process) or _age(entry) > _ABANDONED_SECONDS:
            _remove(entry)


def _temporaries(directory: Path) -> list[tuple[Path, int]]:
    """The temporaries in `directory`, with the number of the process that made each."""
    if not directory.is_dir():
        return []
    found = ((entry, _TEMPORARY.fullmatch(entry.name)) for entry in directory.iterdir())
    return [(entry, int(match[1])) for entry, match in found if match]


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    if os.name == "nt":  # there the call would end it
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _age(path: Path) -> float:
    """Seconds since anything at or below `path` was written; 0 where it vanishes meanwhile."""
    newest = 0.0
    try:
        newest = path.lstat().st_mtime
        for folder, folders, names in os.walk(path):
            newest = max([newest, *(os.lstat(os.path.join(folder, name)).st_mtime for name in (*folders, *names))])
    except FileNotFoundError:
        return 0.0
    return time.time() - newest


def temporary_directory(parent: Path, name: str) -> Path:
    """A new empty directory inside `parent`, recognisable as temporary."""
    parent.mkdir(parents=True, exist_ok=True)
    directory = temporary_beside(parent / name)
    directory.mkdir()  # not mkdtemp, whose directories only their owner can read
    return directory
