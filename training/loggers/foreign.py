"""Loggers of other libraries, which have processes, threads and networks of their own: their faults end no run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from foundation.errors import first_line
from foundation.logs import get_logger
from training.loggers import Event, Logger, Row, Sample

log = get_logger("training")


class Foreign(Logger):
    """Hands everything to `logger`. Its first error is a warning that has its `name`; from then on it gets nothing."""

    def __init__(self, name: str, logger: Logger) -> None:
        self._name = name
        self._logger: Logger | None = logger

    def begin(self) -> None:
        """The run begins."""
        self._try(lambda logger: logger.begin())

    def log(self, row: Row) -> None:
        """Take one row."""
        self._try(lambda logger: logger.log(row))

    def note(self, event: Event) -> None:
        """Something happened."""
        self._try(lambda logger: logger.note(event))

    def show(self, step: int, samples: Sequence[Sample]) -> None:
        """The model wrote `samples` after `step`."""
        self._try(lambda logger: logger.show(step, samples))

    def save(self) -> None:
        """Make everything durable or visible."""
        self._try(lambda logger: logger.save())

    def close(self) -> None:
        """The run ends."""
        self._try(lambda logger: logger.close())
        self._logger = None

    def _try(self, work: Callable[[Logger], None]) -> None:
        if self._logger is None:
            return
        try:
            work(self._logger)
        except Exception as error:
            log.warning("%s failed (%s); the run goes on without it", self._name, first_line(error))
            with contextlib.suppress(Exception):  # what it has so far may still be of use, and is not to fail at exit
                self._logger.close()
            self._logger = None
