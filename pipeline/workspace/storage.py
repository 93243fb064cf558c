"""Object stores and other remote places, by fsspec URL: list, put, fetch, remove; failures a person can act on.

Nothing here is atomic but a single put: who publishes puts what is named first, and the name-giving object last.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foundation.errors import UserError

PROBE = ".mateconv-writable"
_URL = re.compile(r"([a-z][a-z0-9+.-]+):/+(.*)", re.DOTALL)
_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oci", "oss", "memory"}
"""Protocols that know no directories. s3fs would take a wish for one as leave to make a bucket."""
_STORE_LIBRARIES = {
    "botocore", "aiobotocore", "aiohttp", "s3fs", "gcsfs", "adlfs", "azure", "google", "requests", "urllib3", "fsspec"
}  # fmt: skip


def url_of(place: str | Path) -> str | None:
    """The URL that `place` is, or None for a local path. pathlib folds the two slashes of a URL; they come back."""
    match = _URL.fullmatch(str(place))
    if not match:
        return None
    slashes = ":///" if match[1] in ("file", "local") else "://"
    return f"{match[1]}{slashes}{match[2].rstrip('/')}"


class Storage:
    """A directory at a URL. Paths given to its methods are relative to it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._fs, root = _filesystem(url)
        self._root = root.rstrip("/")
        self._has_directories = url.partition(":")[0] not in _OBJECT_STORES

    def check_writable(self) -> None:
        """Raise `UserError` unless something can be put here and removed again."""
        self.write(PROBE, b"")
        self.remove(PROBE)

    def sizes(self, below: str = "") -> dict[str, int]:
        """Bytes of every file (below the directory `below`), by path relative to the URL; one listing."""
        with self._reaching():
            self._fs.invalidate_cache()
            try:
                found = self._fs.find(f"{self._root}/{below}".rstrip("/"), detail=True)
            except FileNotFoundError:
                return {}
        return {self._relative(path): int(info["size"]) for path, info in found.items()}

    def _relative(self, path: str) -> str:
        return str(path).strip("/").removeprefix(self._root.strip("/")).strip("/")

    def read(self, name: str) -> bytes | None:
        """The content of a small file, or None when it is not there."""
        with self._reaching():
            try:
                return bytes(self._fs.cat_file(f"{self._root}/{name}"))
            except FileNotFoundError:
                return None

    def read_all(self, names: list[str]) -> list[bytes]:
        """The contents of many small files, read at the same time where the file system can."""
        if len(names) < 2:  # fsspec answers a single path in another form
            return [self.read(name) or b"" for name in names]
        with self._reaching():
            found = self._fs.cat([f"{self._root}/{name}" for name in names])
        by_name = {self._relative(path): bytes(data) for path, data in found.items()}
        return [by_name[name] for name in names]

    def write(self, name: str, data: bytes) -> None:
        """Put a small file."""
        with self._reaching():
            self._make_parent(name)
            self._fs.pipe_file(f"{self._root}/{name}", data)

    def put(self, local: Path, name: str) -> None:
        """Put the local file."""
        with self._reaching():
            self._make_parent(name)
            self._fs.put_file(str(local), f"{self._root}/{name}")

    def fetch(self, name: str, local: Path) -> None:
        """Copy a file to `local`."""
        with self._reaching():
            self._fs.get_file(f"{self._root}/{name}", str(local))

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with self._reaching():
            try:
                self._fs.rm_file(f"{self._root}/{name}")
            except FileNotFoundError:
                return

    def _make_parent(self, name: str) -> None:
        if self._has_directories:
            self._fs.makedirs(os.path.dirname(f"{self._root}/{name}"), exist_ok=True)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Turn what a store's library raises into one line that names the URL."""
        try:
            yield
        except FileNotFoundError as error:
            raise UserError(f"{self.url}: not found ({error}); check that the bucket or directory exists") from None
        except PermissionError as error:
            raise UserError(f"{self.url}: access refused ({error}); check the credentials and their rights") from None
        except OSError as error:
            if error.filename is None:
                error.filename = self.url
            raise
        except Exception as error:  # each store's library has its own exceptions, derived from nothing shared
            if type(error).__module__.partition(".")[0] not in _STORE_LIBRARIES:
                raise
            raise UserError(f"{self.url}: {error}; check the network, the endpoint and the credentials") from None


def _filesystem(url: str) -> tuple[Any, str]:
    import fsspec

    protocol = url.partition(":")[0]
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        package = "'mateconv[s3]'" if protocol in ("s3", "s3a") else str(error).partition(" to ")[0].split()[-1]
        raise UserError(
            f"{url}: reading and writing {protocol}:// needs another package: pip install {package}"
        ) from None
    except ValueError as error:
        raise UserError(f"{url}: {error}; fsspec knows s3, gs, az, memory, file and others") from None
    return filesystem, str(path)
