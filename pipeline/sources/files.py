"""Input files wherever they lie: local paths and fsspec URLs are identified, checked and opened alike."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foundation import atomic, fingerprint
from foundation.errors import UserError
from pipeline.sources.base import Identity, InputChanged
from pipeline.sources.errors import ErrorKeeper

_PROBES = 16
_PROBE_BYTES = 4096
_PROBED_FILES = 64
REMOTE_BLOCK = 8 << 20
"""Bytes a remote store is asked for at a time when a file is read from front to back."""
REMOTE_THREADS = 8
"""Remote files that are looked at at a time."""

_STAMPS: tuple[str, ...] = ("ETag", "etag", "xet_hash", "blob_id", "md5Hash", "checksum", "content_hash", "Content-MD5")
_STAMPS += ("sha", "hex", "CRC", "LastModified", "last_modified", "Last-Modified", "last_write_time", "mtime")
_STAMPS += ("modificationTime", "modify", "updated", "created")
_PINNED = re.compile(r"^hf://(datasets/)?[^/@]+/[^/@]+@[0-9a-f]{40}/")
WEB = ("http", "https")
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}
_PACKAGES |= {"az": "adlfs", "abfs": "adlfs", "abfss": "adlfs", "hf": "huggingface_hub", "sftp": "paramiko"}


class RemoteFault(UserError):
    """A remote store failed, which may go well another time: what was asked is tried again."""


def is_url(path: str) -> bool:
    """Whether `path` is an address for fsspec rather than a local path."""
    return "://" in path and not path.startswith("file://")


def local(path: str) -> str:
    """A local path, also of a file:// address."""
    return path.removeprefix("file://")


def protocol(url: str) -> str:
    """What stands before "://"; of a chain (zip://a::s3://b) the outermost."""
    return url.partition("://")[0]


def filesystem(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL and the path within it. `UserError` when its package is missing."""
    try:
        import fsspec

        fs, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        package = _PACKAGES.get(protocol(url))
        remedy = f"pip install {package}" if package else "install the package that the message names"
        raise UserError(
            f"{url}: reading {protocol(url)}:// needs a package that is missing ({error}); {remedy}"
        ) from None
    except ValueError as error:
        raise UserError(f"{url}: {error}; use a local path or a protocol that fsspec knows (s3, gs, http, …)") from None
    return fs, str(path)


def address(fs: Any, inside: str, url: str) -> str:
    """The URL of a path within the file system of `url`; of a chain with its other links (`zip://*.txt::s3://…`)."""
    links = url.split("::")
    place = next(number for number, link in enumerate(links) if "://" in link)
    return "::".join([*links[:place], str(fs.unstrip_protocol(inside)), *links[place + 1 :]])


@contextmanager
def explained(url: str, planned: bool = False) -> Iterator[None]:
    """Turn whatever a remote store's library raises in the block into a `UserError` that names `url`: `InputChanged`
    when a file that was `planned` is gone, `RemoteFault` for what may go well another time."""
    try:
        yield
    except UserError:
        raise
    except PermissionError as error:
        raise UserError(f"{url}: no permission ({error}); check the credentials in the environment") from None
    except Exception as error:  # every store's library has exceptions of its own
        if _is_gone(url, error):
            raise (
                InputChanged(url) if planned else UserError(f"{url}: no such file or directory; check the address")
            ) from None
        cause = (error.__cause__ if isinstance(error, FileNotFoundError) else None) or error
        reason = f"{type(cause).__name__}: {cause}".strip(": \n").splitlines()[0][:300]
        raise RemoteFault(
            f"{url}: cannot be read ({reason}); check the address, the network and the credentials in the environment,"
            " or give a local copy of the file"
        ) from None


def _is_gone(url: str, error: Exception) -> bool:
    if protocol(url) in WEB:  # where fsspec takes every failure for a missing file
        return getattr(error.__cause__ or error, "status", None) in (404, 410)
    return isinstance(error, FileNotFoundError)


def identify(path: str) -> Identity:
    """What an input is now. Raises `UserError` when it may not be read or is gone."""
    if is_url(path):
        fs, inside = filesystem(path)
        with explained(path):
            fs.invalidate_cache(inside)
            return remote_identity(fs.info(inside))
    path = local(path)
    try:
        if os.path.isdir(path):
            return _directory_identity(path)
        status = os.stat(path)
        return Identity(status.st_size, str(status.st_mtime_ns), _probe(path, status.st_size))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check --input") from None
    except PermissionError as error:
        raise UserError(f"{error.filename or path}: no permission to read this file") from None


def remote_identity(info: dict[str, Any]) -> Identity:
    """The identity that a store's description of a file gives: its size and version tag."""
    stamp = next((str(info[key]) for key in _STAMPS if info.get(key)), "")
    return Identity(int(info.get("size") or 0), stamp.strip('"'), "")


def listed_identity(info: dict[str, Any]) -> Identity | None:
    """The same where the description tells the size; that of a file in a web server's listing of links does not."""
    return None if info.get("size") is None else remote_identity(info)


def directory_listing(path: str) -> list[tuple[str, int, int]]:
    """Name, size and time of change (nanoseconds) of the files directly in a directory, sorted."""
    with os.scandir(path) as entries:
        found = [(entry.name, entry.stat()) for entry in entries if entry.is_file()]
    return sorted((name, status.st_size, status.st_mtime_ns) for name, status in found)


def listing_stamp(listing: list[tuple[str, int, int]]) -> str:
    """What the names, sizes and times of a directory's files come to: the stamp of its identity."""
    return fingerprint.of_json(listing)[:32]


def is_document(name: str) -> bool:
    """Whether a file of a directory of text files is a document."""
    return name.lower().endswith(".txt") and not name.startswith(".")


def _directory_identity(path: str) -> Identity:
    """The identity of a directory of small files. What some of them hold is part of it: an unpacked archive may give
    the files of all directories the same names and times, and sizes are soon the same."""
    listing = directory_listing(path)
    documents = [(name, size) for name, size, _ in listing if is_document(name)]
    count = min(len(documents), _PROBED_FILES)
    probed = [documents[len(documents) * place // count] for place in range(count)]
    probes = [_probe(os.path.join(path, name), size) for name, size in probed]
    return Identity(sum(size for _, size, _ in listing), listing_stamp(listing), fingerprint.of_json(probes)[:32])


def _probe(path: str, size: int) -> str:
    """SHA-256 over a few evenly spaced pieces: enough, with size and time, to notice another file of the same name."""
    digest = hashlib.sha256(str(size).encode())
    last = max(0, size - _PROBE_BYTES)
    with open(path, "rb") as file:
        for probe in range(_PROBES):
            file.seek(last * probe // (_PROBES - 1))
            digest.update(file.read(_PROBE_BYTES))
    return digest.hexdigest()[:32]


@contextmanager
def opened(path: str, identity: Identity, sequential: bool = True) -> Iterator[io.RawIOBase]:
    """A planned input, open for reading bytes. `InputChanged` when it is not the one planned, before or after.

    `sequential` False: a remote file is read at just the ranges asked for.
    """
    if is_url(path):
        with _remote(path, identity, sequential) as file:
            yield file
        return
    place = Path(local(path))
    with atomic.naming(place), place.open("rb", buffering=0) as file:
        _check(file.fileno(), path, identity)
        yield file
        _check(file.fileno(), path, identity)


def _check(descriptor: int, path: str, identity: Identity) -> None:
    status = os.fstat(descriptor)
    if (status.st_size, str(status.st_mtime_ns)) != (identity.size, identity.stamp):
        raise InputChanged(path)


@contextmanager
def _remote(url: str, identity: Identity, sequential: bool) -> Iterator[io.RawIOBase]:
    fs, inside = filesystem(url)
    options: dict[str, Any] = {"block_size": REMOTE_BLOCK, "cache_type": "readahead" if sequential else "none"}
    if protocol(url) in ("hf", *WEB):
        options["size"] = identity.size  # spares a request for what the plan knows
    _check_remote(fs, url, inside, identity)
    with explained(url, planned=True):
        file = fs.open(inside, "rb", **options)
    with file:
        yield _RemoteFile(file, url)
    _check_remote(fs, url, inside, identity)


class _RemoteFile(ErrorKeeper):
    """A planned file of a store, whose errors of reading are `explained`."""

    def __init__(self, raw: Any, url: str) -> None:
        super().__init__(raw)
        self._url = url

    def read(self, size: int | None = -1) -> bytes:
        """See `ErrorKeeper.read`."""
        with explained(self._url, planned=True):
            return super().read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See `ErrorKeeper.seek`."""
        with explained(self._url, planned=True):
            return super().seek(offset, whence)


def _check_remote(fs: Any, url: str, inside: str, identity: Identity) -> None:
    if _PINNED.match(url):
        return  # a commit never changes
    with explained(url, planned=True):
        fs.invalidate_cache(inside)
        now = remote_identity(fs.info(inside))
    if now != identity:
        raise InputChanged(url)


def read_small(path: str, limit: int = 1 << 20) -> bytes:
    """The first bytes of a small file (a card, a state.json)."""
    if is_url(path):
        fs, inside = filesystem(path)
        with explained(path), fs.open(inside, "rb") as file:
            return bytes(file.read(limit))
    with open(local(path), "rb") as file:
        return file.read(limit)
