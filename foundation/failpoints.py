"""Failpoints: named places where a test can kill the process or make the disk fail.

They do nothing unless the environment variable MATECONV_FAILPOINT is set:
`NAME` kills the process with SIGKILL at the first hit, `NAME:3` at the third, `NAME:1:raise=ENOSPC` raises that
OSError instead. Forked or spawned workers inherit the variable and count their own hits.
"""

from __future__ import annotations

import errno
import os
import signal
from collections import Counter
from pathlib import Path

ENVIRONMENT_VARIABLE = "MATECONV_FAILPOINT"
_hits: Counter[str] = Counter()


def failpoint(name: str, path: Path | None = None) -> None:
    """Stop here when the environment asks for it. `path` is named in a raised OSError."""
    wanted = os.environ.get(ENVIRONMENT_VARIABLE)
    if not wanted:
        return
    where, _, rest = wanted.partition(":")
    if where != name:
        return
    count, _, action = rest.partition(":")
    _hits[name] += 1
    if _hits[name] != int(count or 1):
        return
    if action.startswith("raise="):
        number = getattr(errno, action.removeprefix("raise="))
        raise OSError(number, os.strerror(number), str(path) if path else None)
    os.kill(os.getpid(), signal.SIGKILL)
