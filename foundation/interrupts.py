"""SIGTERM and Ctrl-C for commands whose work is kept: end tidily at the first, at once at the second."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_RESUMABLE = 75
"""EX_TEMPFAIL of sysexits.h: stopped by SIGTERM, and the same command can go on."""


class Terminated(SystemExit):
    """SIGTERM arrived. Unwinds like an error, so that processes are ended and temporaries removed."""


@contextmanager
def tidy_stop(advice: str) -> Iterator[None]:
    """Within the block, the first SIGTERM or Ctrl-C unwinds the stack (exit code 75, or 130 by `KeyboardInterrupt`)
    and prints `advice`; the second ends this process and its workers at once. Other threads get no handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal seen
        seen += 1
        if seen > 1:
            for child in multiprocessing.active_children():
                child.kill()
            os._exit(128 + number)
        print(f"\nstopping ({signal.Signals(number).name}); {advice}", file=sys.stderr)
        if number == signal.SIGTERM:
            raise Terminated(EXIT_RESUMABLE)
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
