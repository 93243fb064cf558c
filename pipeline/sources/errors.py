"""Tell an error of reading a file from an error in what it holds, where a library raises the same for both."""

from __future__ import annotations

import io
from typing import Any


class ErrorKeeper(io.RawIOBase):
    """A file for reading that remembers the first error of reading, in `error`."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self.error: Exception | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        """At most `size` bytes."""
        try:
            return bytes(self._raw.read(-1 if size is None else size) or b"")
        except Exception as error:
            self.error = error
            raise

    def readall(self) -> bytes:
        """All bytes to the end."""
        return self.read(-1)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; returns the new position."""
        return int(self._raw.seek(offset, whence))

    def tell(self) -> int:
        """The position."""
        return int(self._raw.tell())
