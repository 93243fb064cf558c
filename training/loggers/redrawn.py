"""Pictures and pages of a run, drawn again while it goes on, by a thread: the loop never waits for one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from foundation.logs import get_logger
from training.loggers import Logger

log = get_logger("training")

_REDRAW_SECONDS = 60.0
_SHARE = 20  # between two drawings lies so many times what the last one took


class Redrawn(Logger):
    """Calls `draw` with checkpoints and at the end, at most once a minute and for at most a twentieth of the time.

    It reads the run's files, so that a resumed run shows its whole history. `path` is what it draws.
    """

    def __init__(self, path: Path, draw: Callable[[], object], seconds: float = _REDRAW_SECONDS) -> None:
        self._path, self._draw, self._seconds = path, draw, seconds
        self._drawn = time.monotonic()
        self._thread: threading.Thread | None = None

    def save(self) -> None:
        """Draw again when what is there is old enough."""
        busy = self._thread is not None and self._thread.is_alive()
        if not busy and time.monotonic() - self._drawn >= self._seconds:
            self._drawn = time.monotonic()
            self._thread = threading.Thread(target=self._safely, name="draw", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """The last one."""
        if self._thread is not None:
            self._thread.join()
        self._safely()

    def _safely(self) -> None:
        began = time.monotonic()
        try:
            self._draw()
        except OSError as error:  # a full disk, say: no reason to lose the run, or to hide its own message
            log.warning("%s: not drawn (%s)", self._path, error.strerror)
        except Exception as error:  # nor is anything else that is wrong with a picture
            log.warning("%s: not drawn (%s: %s)", self._path, type(error).__name__, error)
        self._seconds = max(self._seconds, _SHARE * (time.monotonic() - began))
