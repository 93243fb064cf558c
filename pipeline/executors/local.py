"""Run map tasks in worker processes that may die: a lost task is tried again, three losses are reported.

Each worker has a pipe of its own, so that a death is charged to the task it was working on. Workers are not forked
from the caller: threads of the tokenizer libraries do not survive a fork (see `starting`).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import cast

from foundation.logs import get_logger
from pipeline.executors import starting
from pipeline.executors.base import ATTEMPTS, Answer, Done, Ledger, Outcome, answer
from pipeline.mapping.encode import WRONG_ON_PROBE
from pipeline.mapping.setup import MapSetup
from pipeline.sources.base import Task

PROGRESS_INTERVAL = 0.1
_PR_SET_PDEATHSIG = 1
log = get_logger("pipeline.executors")


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    task: Task | None = None


class WorkerPool:
    """Maps tasks with `count` processes. They start at once, and load what `setup` needs while the caller still
    prepares what `run` needs. A context manager: leaving it ends them."""

    def __init__(self, setup: MapSetup, count: int) -> None:
        self._context = starting.context()
        self._setup = setup
        self._workers: list[_Worker] = []
        self._retired: list[_Worker] = []  # their pipes are closed, and they end
        for _ in range(count):
            self._workers.append(self._start())

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run(self, tasks: list[Task], done: Done, progress: Callable[[int], object]) -> Outcome:
        """See `Executor.run`."""
        self._progress, self._warned = progress, False
        self._ledger = ledger = Ledger(tasks, done)
        while self._workers and ledger.outcome.mismatch is None:
            self._turn()
        return ledger.outcome

    def _start(self) -> _Worker:
        for attempt in range(ATTEMPTS):
            ours, theirs = self._context.Pipe()
            process = self._context.Process(target=_serve, args=(theirs, dict(os.environ)), daemon=True)  # type: ignore[attr-defined]
            try:
                process.start()
            except (OSError, EOFError):  # the server was killed just now: the next start finds that out and makes one
                ours.close()
                if attempt == ATTEMPTS - 1:
                    raise
                time.sleep(0.1)
            else:
                worker = _Worker(process, ours)
                self._send(worker, self._setup)
                return worker
            finally:
                theirs.close()
        raise AssertionError

    @staticmethod
    def _send(worker: _Worker, message: object) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            worker.pipe.send(message)  # a dead worker is noticed, and its task charged, when its pipe is read

    def _turn(self) -> None:
        for worker in list(self._workers):
            if worker.task is None and not self._assign(worker):
                self._retire(worker)
        ready = wait([worker.pipe for worker in self._workers]) if self._workers else []
        for worker in [w for w in self._workers if w.pipe in ready]:
            try:
                self._receive(worker, worker.pipe.recv())
            except (EOFError, ConnectionResetError):
                self._lost(worker)

    def _assign(self, worker: _Worker) -> bool:
        worker.task = self._ledger.take()
        if worker.task is not None:
            self._send(worker, worker.task)
        return worker.task is not None

    def _receive(self, worker: _Worker, message: Answer) -> None:
        kind, value = message
        if kind == "progress":
            assert isinstance(value, int)
            self._progress(value)
            return
        if kind == "probe":
            if not self._warned:  # the others will say the same
                log.warning(WRONG_ON_PROBE, *cast(tuple[str, str], value))
            self._warned = True
            return
        task = worker.task
        assert task is not None
        self._assign(worker)  # so that it works while this process commits the part
        self._ledger.settle(task, message)

    def _lost(self, worker: _Worker) -> None:
        """The worker died. Charge its task and put another worker in its place."""
        worker.process.join()
        code = worker.process.exitcode or 0
        cause = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self._workers.remove(worker)
        if worker.task is not None:
            self._ledger.lose(worker.task, f"its worker died ({cause}; out of memory?)")
        if self._ledger.waiting:
            self._workers.append(self._start())

    def _retire(self, worker: _Worker) -> None:
        """Nothing is left for this worker now. While others may still lose a task, it waits; else it ends."""
        if any(other.task is not None for other in self._workers):
            return
        self._workers.remove(worker)
        worker.pipe.close()
        self._retired.append(worker)

    def stop(self) -> None:
        """End all processes, whatever they are doing."""
        for worker in self._workers:
            worker.process.terminate()
        for worker in [*self._workers, *self._retired]:
            self._end(worker)
        self._workers.clear()
        self._retired.clear()

    @staticmethod
    def _end(worker: _Worker) -> None:
        worker.pipe.close()
        worker.process.join(timeout=10)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _serve(pipe: Connection, environment: dict[str, str]) -> None:
    """The life of a worker: take the setup from the pipe, then map the tasks that come, until it closes."""
    _die_with_parent()
    starting.take_environment(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends its workers
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    from pipeline.mapping.map_task import Mapper  # the server has loaded it, the parent has no use for it

    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        mapper = Mapper(pipe.recv())
        wrong = mapper.encoder.probe()
        if wrong is not None:
            pipe.send(("probe", wrong))
        gc.freeze()  # what is loaded now stays; collections need not look at it again
        report = _Reporter(pipe)
        while True:
            task: Task = pipe.recv()
            result = answer(mapper, task, report)
            report.flush()
            pipe.send(result)
    os._exit(0)  # nobody waits for the engine's tables to be taken apart


class _Reporter:
    """Sends progress, a few times a second at most."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._bytes, self._sent = pipe, 0, 0.0

    def __call__(self, size: int) -> None:
        self._bytes += size
        now = time.monotonic()
        if now - self._sent > PROGRESS_INTERVAL:
            self.flush()
            self._sent = now

    def flush(self) -> None:
        """Send what is pending; raises BrokenPipeError when the parent is gone."""
        self._pipe.send(("progress", self._bytes))
        self._bytes = 0


def _die_with_parent() -> None:
    """Let the kernel kill this process when its parent dies (Linux, prctl(2)): no orphan then makes parts beside a new
    run. Elsewhere an orphan ends after its task, when its pipe is closed."""
    parent = multiprocessing.parent_process()
    if sys.platform != "linux" or parent is None:
        return
    with contextlib.suppress(OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1 or not parent.is_alive():  # it died before the call
        os._exit(1)
