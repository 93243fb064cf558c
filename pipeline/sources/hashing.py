"""Hash an archive while it is read: the fingerprint of an input costs no second pass."""

from __future__ import annotations

import hashlib
import io

from pipeline.sources.compression import CHUNK


class HashingReader(io.RawIOBase):
    """Hands a file's bytes on and hashes them in blocks."""

    def __init__(self, file: io.RawIOBase, block: int) -> None:
        self._file, self._block = file, block
        self.position = 0
        self._digest, self._filled = hashlib.sha256(), 0
        self._digests: list[str] = []

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        data = self._file.read(CHUNK if size is None or size < 0 else size) or b""
        self.position += len(data)
        view = memoryview(data)
        while len(view):
            part = view[: self._block - self._filled]
            self._digest.update(part)
            self._filled += len(part)
            view = view[len(part) :]
            if self._filled == self._block:
                self._close_block()
        return data

    def _close_block(self) -> None:
        self._digests.append(self._digest.hexdigest())
        self._digest, self._filled = hashlib.sha256(), 0

    def finish(self) -> list[str]:
        if self._filled:
            self._close_block()
        return self._digests
