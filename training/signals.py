"""SIGTERM and Ctrl-C: finish tidily, or at once when asked twice. SIGUSR1: save and go on.

The first SIGTERM or Ctrl-C only sets a flag: the loop leaves at the next microstep, saves a checkpoint and
exits resumable (75, EX_TEMPFAIL, for SIGTERM; 130 for Ctrl-C). A second Ctrl-C stops now; the last checkpoint
is whole. SIGUSR1 (which no Windows has) saves a checkpoint after the running step. Around the loop, where there is
nothing to save, SIGTERM and Ctrl-C end the run at once with the same codes, and SIGUSR1 does nothing.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from foundation.cli import EXIT_INTERRUPTED
from foundation.interrupts import EXIT_RESUMABLE, tidy_stop

_SAME_PRESS_SECONDS = 2.0


@contextmanager
def around_the_loop() -> Iterator[None]:
    """What the signals do before the first step and after the last one."""
    with _ignored("SIGUSR1"), tidy_stop("nothing is lost; the same command with --resume goes on"):
        yield


@contextmanager
def _ignored(name: str) -> Iterator[None]:
    """Ignore the signal where there is one of that name and Python allows handlers: in the main thread."""
    if not hasattr(signal, name) or threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.Signals[name], signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.Signals[name], previous)


class StopRequest:
    """Context manager that turns the signals into `requested`; restores the old handlers at the end."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.save = False
        """Somebody asked for a checkpoint; whoever makes it takes this back."""
        self._first_at = 0.0
        self._previous: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether somebody asked this process to stop."""
        return self.signal is not None

    @property
    def name(self) -> str:
        """Which signal it was, or that another rank has it."""
        return "a signal to another rank" if self.signal is None else signal.Signals(self.signal).name

    @property
    def exit_code(self) -> int:
        """Exit code of a run that was stopped, saved, and can be resumed."""
        return EXIT_INTERRUPTED if self.signal == signal.SIGINT else EXIT_RESUMABLE

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
            if hasattr(signal, "SIGUSR1"):
                self._previous[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self._handle_save)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signal is None:
            self.signal, self._first_at = number, now
        elif number == signal.SIGINT and not self._same_press(now):
            raise KeyboardInterrupt

    def _handle_save(self, number: int, frame: FrameType | None) -> None:
        self.save = True

    def _same_press(self, now: float) -> bool:
        """One Ctrl-C reaches a torchrun worker twice: from the terminal and from torchrun."""
        return "TORCHELASTIC_RUN_ID" in os.environ and now - self._first_at < _SAME_PRESS_SECONDS
