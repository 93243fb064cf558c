"""One thread that writes while the run goes on: at most one job at a time, and no error of it is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable


class BackgroundWriter:
    """Runs jobs one after the other. What a job raises is raised by the next call of `check`, `wait` or `start`.

    The thread is a daemon: an end without `wait` (a second Ctrl-C) abandons its job, which must leave nothing but a
    temporary file behind.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, job: Callable[[], None]) -> None:
        """Run `job` in the background, after the one before it."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(job,), name="writer", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise what a finished job raised; never waits."""
        if self._error is not None:
            self.wait()

    def wait(self) -> None:
        """Wait for the running job, and raise what it raised."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self, job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:  # handed to the loop, which raises it
            self._error = error
