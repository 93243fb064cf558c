"""All loggers of a run as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from training.loggers import Event, Logger, Row, Sample


class Loggers(Logger):
    """Hands everything to each of `loggers`, in their order. Ranks other than 0 have none."""

    def __init__(self, loggers: Sequence[Logger] = ()) -> None:
        self._loggers = tuple(loggers)

    def __iter__(self) -> Iterator[Logger]:
        return iter(self._loggers)

    @contextmanager
    def closed_by_an_error(self) -> Iterator[None]:
        """Closes all when the block fails: nobody has taken them over."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def begin(self) -> None:
        """The run begins."""
        for logger in self._loggers:
            logger.begin()

    def log(self, row: Row) -> None:
        """Take one row."""
        for logger in self._loggers:
            logger.log(row)

    def note(self, event: Event) -> None:
        """Something happened."""
        for logger in self._loggers:
            logger.note(event)

    def show(self, step: int, samples: Sequence[Sample]) -> None:
        """The model wrote `samples` after `step`."""
        for logger in self._loggers:
            logger.show(step, samples)

    def save(self) -> None:
        """Make everything durable or visible."""
        for logger in self._loggers:
            logger.save()

    def close(self) -> None:
        """Close each, whatever becomes of the others; the first error is raised at the end."""
        errors = []
        for logger in self._loggers:
            try:
                logger.close()
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]
