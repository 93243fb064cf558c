"""A lock on a directory, so that two runs never write to the same place.

The lock is the kernel's (`flock`), so a dead owner's lock is free at once; the file's text only names the owner.
"""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from types import TracebackType

from foundation.errors import UserError

try:
    import fcntl
except ImportError:  # Windows has no flock; there the lock is advisory text only
    fcntl = None  # type: ignore[assignment]

_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)


class DirectoryLock:
    """Context manager that holds the lock file `path` while `purpose` is going on.

    Raises `UserError` naming the owning process when another live process holds it; with `wait`, waits for that one.
    `UserError` also on a file system without locks: packing and the clearing of caches rely on them.
    Several processes hold a `shared` lock at once, but none beside one that is not shared.
    """

    def __init__(self, path: Path, purpose: str, shared: bool = False, wait: bool = False) -> None:
        self.path = path
        self.purpose = purpose
        self._shared, self._wait = shared, wait
        self._descriptor: int | None = None

    def __enter__(self) -> DirectoryLock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if fcntl is not None:
                kind = fcntl.LOCK_SH if self._shared else fcntl.LOCK_EX
                fcntl.flock(descriptor, kind if self._wait else kind | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(descriptor, 400).decode(errors="replace").strip() or "another process"
            os.close(descriptor)
            if error.errno in _NO_LOCKS:
                raise UserError(
                    f"{self.path.parent}: this file system has no locks ({error.strerror}), and nothing would keep a "
                    "second process out. Mount it with locks (Lustre: -o flock), or choose a directory on another one"
                ) from None
            if not isinstance(error, BlockingIOError):
                error.filename = str(self.path)
                raise
            raise UserError(
                f"{self.path.parent}: in use by {owner}. Wait for it to end or stop it, then run this again"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()} ({self.purpose})\n".encode(), 0)
        self._descriptor = descriptor
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)  # closing releases the flock
            self._descriptor = None
