"""Write the tokens of a shard: filled buffers are hashed and written by two threads while the next one is filled.

Where the system can (Linux, O_DIRECT of open(2)), full buffers go to the disk past the page cache: nobody reads a shard
soon after it was written, and the sync at the end finds nothing left to do.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from foundation import atomic

BUFFER_BYTES = 4 << 20
"""A multiple of every block size that O_DIRECT asks for."""
BUFFERS = 3
_O_DIRECT: int = getattr(os, "O_DIRECT", 0)


class TokenFile:
    """A new file at `path` that grows at its end. Errors of the operating system name `path`. Memory: BUFFERS of
    BUFFER_BYTES."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        """Bytes appended so far."""
        self._direct = True
        self._descriptor = _create(path)
        self._hash = hashlib.sha256()
        self._hasher, self._writer = ThreadPoolExecutor(1, "sha256"), ThreadPoolExecutor(1, "write")
        self._busy: list[list[Future[None]]] = [[] for _ in range(BUFFERS)]
        self._buffers = [mmap.mmap(-1, BUFFER_BYTES) for _ in range(BUFFERS)]  # aligned to pages, as O_DIRECT wants
        self._current = self._filled = 0

    def append(self, data: memoryview) -> None:
        """Add bytes; they are copied."""
        done = 0
        while done < len(data):
            step = min(len(data) - done, BUFFER_BYTES - self._filled)
            self._buffers[self._current][self._filled : self._filled + step] = data[done : done + step]
            done += step
            self._filled += step
            self.size += step
            if self._filled == BUFFER_BYTES:
                self._send()

    def _send(self) -> None:
        """Let the threads have the current buffer, and wait for the next one to be free."""
        view = memoryview(self._buffers[self._current])[: self._filled]
        start = self.size - self._filled
        self._busy[self._current] = [
            self._hasher.submit(self._hash.update, view),
            self._writer.submit(self._write, view, start),
        ]
        self._current = (self._current + 1) % BUFFERS
        self._filled = 0
        self._wait(self._current)

    def _wait(self, number: int) -> None:
        with atomic.naming(self.path):
            for future in self._busy[number]:
                future.result()
        self._busy[number] = []

    def _write(self, data: memoryview, start: int) -> None:
        if self._direct and len(data) < BUFFER_BYTES:
            self._go_through_cache()  # the last bytes are no whole block
        done = 0
        while done < len(data):
            try:
                done += os.pwrite(self._descriptor, data[done:], start + done)
            except OSError as error:
                if error.errno != errno.EINVAL or not self._direct:
                    raise
                self._go_through_cache()  # a file system that takes the flag and not the write

    def _go_through_cache(self) -> None:
        self._direct = False
        if _O_DIRECT:
            import fcntl  # which has this where it has the flag

            flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL)
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags & ~_O_DIRECT)

    def finish(self) -> str:
        """Write what is left, sync and close; the SHA-256 of all bytes."""
        if self._filled:
            self._send()
        for number in range(BUFFERS):
            self._wait(number)
        with atomic.naming(self.path):
            os.fsync(self._descriptor)
        self.close()
        return self._hash.hexdigest()

    def close(self) -> None:
        """End the threads and close the file, whatever was written."""
        self._hasher.shutdown(cancel_futures=True)
        self._writer.shutdown(cancel_futures=True)
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _create(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    if _O_DIRECT:
        with contextlib.suppress(OSError):
            return os.open(path, flags | _O_DIRECT, 0o666)
        path.unlink(missing_ok=True)  # Linux creates the file before it finds that it cannot
    return os.open(path, flags, 0o666)
