"""What every executor offers, and what does not depend on where tasks run: the queue, retries, what tasks came to."""

from __future__ import annotations

import traceback
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from foundation.errors import UserError
from foundation.failpoints import failpoint
from foundation.logs import get_logger
from pipeline.mapping.encode import AuditMismatch
from pipeline.mapping.setup import Mapped
from pipeline.sources.base import InputChanged, Task

if TYPE_CHECKING:
    from pipeline.mapping.map_task import Mapper  # loads all that workers need, and the parent does not

ATTEMPTS = 3
"""How often a task is tried before it is reported."""
log = get_logger("pipeline.executors")

Answer = tuple[str, object]
"""What mapping a task came to: its kind (done, mismatch, changed, os_error, error) and a value."""
Done = Callable[[Task, Mapped], None]


@dataclass
class Outcome:
    """What a run of tasks came to, besides the parts it committed."""

    mismatch: str | None = None
    changed: set[str] = field(default_factory=set)
    failed: list[tuple[Task, str]] = field(default_factory=list)


class Executor(Protocol):
    """Runs map tasks in workers of one `MapSetup`. A context manager: leaving it ends what it started."""

    def __enter__(self) -> Executor: ...

    def __exit__(self, *_: object) -> None: ...

    def run(self, tasks: list[Task], done: Done, progress: Callable[[int], object]) -> Outcome:
        """Map all `tasks`, once. The fast engine is tried on the probe set first; where it is wrong, a
        warning says so and the reference takes its place. `done(task, mapped)` is called in this process for every
        part that was made, `progress(bytes)` as input is read. Stops early only at an audit mismatch or an error of
        the operating system (raised)."""
        ...

    def stop(self) -> None:
        """End everything that runs."""
        ...


class Ledger:
    """The tasks of one run: which are left, what became of the others. A lost task is tried again; the third loss is
    reported, and the others go on."""

    def __init__(self, tasks: list[Task], done: Done) -> None:
        self.outcome = Outcome()
        self._queue = deque(tasks)
        self._done = done
        self._losses: Counter[str] = Counter()

    @property
    def waiting(self) -> bool:
        """Whether a task is left that nobody works on."""
        return any(task.path not in self.outcome.changed for task in self._queue)

    def take(self) -> Task | None:
        """The next task, or None. Files that were found changed are passed over."""
        while self._queue:
            task = self._queue.popleft()
            if task.path not in self.outcome.changed:
                return task
        return None

    def settle(self, task: Task, answer: Answer) -> None:
        """A worker answered. Raises the operating-system error that it met."""
        kind, value = answer
        if kind == "done":
            assert isinstance(value, Mapped)
            self._done(task, value)
        elif kind == "mismatch":
            self.outcome.mismatch = str(value)
        elif kind == "changed":
            self.outcome.changed.add(task.path)
        elif kind == "os_error":
            assert isinstance(value, OSError)
            raise value
        else:
            self.lose(task, str(value))

    def lose(self, task: Task, reason: str) -> None:
        """The task was not finished: its worker died, or something went wrong in it."""
        self._losses[task.key] += 1
        if self._losses[task.key] >= ATTEMPTS:
            log.error("%s: failed %d times, leaving it out: %s", task.label, ATTEMPTS, reason)
            self.outcome.failed.append((task, reason))
        else:
            log.warning("%s: %s; trying again", task.label, reason)
            self._queue.append(task)


def answer(mapper: Mapper, task: Task, progress: Callable[[int], None]) -> Answer:
    """Map one task, in a worker. A lost connection to the parent is raised, everything else is an answer."""
    try:
        failpoint("map.start")
        return "done", mapper.run(task, progress)
    except AuditMismatch as error:
        return "mismatch", str(error)
    except InputChanged as error:
        return "changed", str(error)
    except (BrokenPipeError, ConnectionResetError):
        raise
    except UserError as error:
        return "error", str(error)
    except OSError as error:  # as a plain one: subclasses of libraries may not travel between processes
        return "os_error", OSError(error.errno, error.strerror or str(error), error.filename)
    except Exception:  # whatever goes wrong with one task must not take the others along
        return "error", traceback.format_exc(limit=-3).strip()
