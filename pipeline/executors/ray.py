"""Run map tasks on Ray (https://docs.ray.io), on this machine or a cluster: one actor a worker, each with a Mapper.

Ray places the actors and notices when one is lost; what counts as lost, changed or failed is the ledger's, as for
local processes. The machines must reach the input and the work area: a shared file system at one path, or URLs.
"""

from __future__ import annotations

import gc
import logging
import os
import socket
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from foundation.errors import UserError, first_line
from foundation.failpoints import ENVIRONMENT_VARIABLE
from foundation.logs import get_logger
from pipeline.executors.base import ATTEMPTS, Answer, Done, Ledger, Outcome, answer
from pipeline.mapping.map_task import Mapper
from pipeline.mapping.setup import MapSetup
from pipeline.mapping.versions import told, versions
from pipeline.sources.base import Task
from pipeline.tokenizer_stage import choose_engine
from tokenization.tokenizer import Tokenizer

OBJECT_STORE_BYTES = 100 * 2**20
"""Parts travel by file, so the object store holds only the tokenizer."""
PACKAGES = ("foundation", "tokenization", "shards", "pipeline")
"""What the workers of a cluster import."""
PATIENCE = 60.0
"""Seconds without any worker after which that is said."""
ROOT = Path(__file__).resolve().parents[2]
log = get_logger("pipeline.executors")


class _Worker:
    """Maps tasks in a process of Ray's."""

    def __init__(self, setup: MapSetup, tokenizer: dict[str, bytes], wanted: dict[str, str]) -> None:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the actors are the parallelism
        # This may be another machine. The files are gone before the first task: Ray ends actors without a goodbye.
        with tempfile.TemporaryDirectory(prefix="mateconv-") as directory:
            for name, data in tokenizer.items():
                (Path(directory) / name).write_bytes(data)
            self._mapper = Mapper(replace(setup, tokenizer=Path(directory)))
        if (found := self._mapper.versions) != wanted:
            differ = told(found, wanted)
            raise UserError(f"{socket.gethostname()} has other versions than the command ({differ})")
        gc.freeze()

    def ready(self) -> None:
        """Answers once this worker has a CPU and its mapper is loaded."""

    def run(self, task: Task) -> Answer:
        """Map one task."""
        return answer(self._mapper, task, lambda size: None)


class RayExecutor:
    """A context manager: leaving it ends the actors, and Ray where it was started here."""

    def __init__(self, setup: MapSetup, address: str | None, workers: int | None, tasks: int) -> None:
        self._setup = setup
        self._ray = _import_ray()
        self._started = not self._ray.is_initialized()
        if self._started:
            _connect(self._ray, address, workers)
        cpus = int(self._ray.cluster_resources().get("CPU", 1))
        self._count = min(workers or cpus, tasks)
        self._actors: list[Any] = []  # all of them: each is starting, idle or running
        self._starting: dict[Any, tuple[Any, int]] = {}  # by the reference to wait for; how often it was tried
        self._idle: list[Any] = []
        self._running: dict[Any, tuple[Any, Task]] = {}
        self._warned = False

    def __enter__(self) -> RayExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._started:
            self._ray.shutdown()

    def run(self, tasks: list[Task], done: Done, progress: Callable[[int], object]) -> Outcome:
        """See `Executor.run`. Progress is told task by task."""
        ray, setup = self._ray, self._setup
        if setup.engine_factory is not None:  # checked here, where it can be told
            factory = choose_engine(setup.config, Tokenizer.load(setup.tokenizer), setup.engine_factory)
            setup = replace(setup, engine_factory=factory)
        files = ray.put({path.name: path.read_bytes() for path in setup.tokenizer.iterdir()})
        self._remote = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(_Worker)
        self._arguments = (setup, files, versions(setup.config.settings()))
        ledger = Ledger(tasks, done)
        for _ in range(self._count):
            self._start()
        while ledger.outcome.mismatch is None:
            while self._idle and (task := ledger.take()) is not None:
                actor = self._idle.pop()
                self._running[actor.run.remote(task)] = (actor, task)
            if not self._running and not ledger.waiting:
                break  # whatever is still to be placed is needed no more
            for ref in self._wait():
                if ref in self._starting:
                    self._started_up(ref)
                    continue
                actor, task = self._running.pop(ref)
                try:
                    result: Answer = ray.get(ref)
                except ray.exceptions.RayError as error:  # the actor died, or ran out of memory
                    self._end(actor)
                    ledger.lose(task, f"its Ray worker was lost ({type(error).__name__}: {first_line(error)})")
                    if ledger.waiting:
                        self._start()
                    continue
                self._idle.append(actor)
                ledger.settle(task, result)
                progress(task.bytes)
        return ledger.outcome

    def _start(self, attempt: int = 1) -> None:
        """Ask for an actor. It gets a task when it is ready and not before: where its CPU is taken, others go on."""
        actor = self._remote.remote(*self._arguments)
        self._actors.append(actor)
        self._starting[actor.ready.remote()] = (actor, attempt)

    def _wait(self) -> list[Any]:
        """The next references that have an answer. Warns once where for a minute no worker is there to wait for."""
        alone = not self._running and not self._warned
        references = [*self._running, *self._starting]
        ready: list[Any] = self._ray.wait(references, num_returns=1, timeout=PATIENCE if alone else None)[0]
        if not ready:
            self._warned = True
            log.warning(
                "no Ray worker has started for %d seconds: the cluster has no free CPU for one. Waiting;"
                " `ray status` shows who holds them",
                PATIENCE,
            )
        return ready

    def _started_up(self, ref: Any) -> None:
        """An actor is ready, or could not start. Raises `UserError` when none is left that might."""
        actor, attempt = self._starting.pop(ref)
        try:
            self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            self._end(actor)
            reason = str(error).strip().rpartition("\n")[2] or type(error).__name__  # the last line of its traceback
            if attempt < ATTEMPTS:
                log.warning("a Ray worker could not start: %s; trying again", reason)
                self._start(attempt + 1)
            elif self._actors:
                log.error("a Ray worker could not start %d times, going on without it: %s", ATTEMPTS, reason)
            else:
                raise UserError(
                    f"executor ray: no worker could start: {reason}. What is done is kept; --resume goes on"
                ) from None
        else:
            self._idle.append(actor)

    def _end(self, actor: Any) -> None:
        self._actors.remove(actor)
        self._ray.kill(actor)

    def stop(self) -> None:
        """End the actors, whatever they are doing."""
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors.clear()


def _import_ray() -> ModuleType:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or it warns about GPUs nobody asked for
    try:
        import ray
    except ImportError:
        raise UserError(
            "executor ray: Ray is not installed; pip install 'mateconv[ray]', or --executor local"
        ) from None
    return ray


def _connect(ray: ModuleType, address: str | None, workers: int | None) -> None:
    """Start Ray here, or join a cluster and bring it the code."""
    variables = {name: os.environ[name] for name in (ENVIRONMENT_VARIABLE,) if name in os.environ}
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        ray.init(
            num_cpus=workers, include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES,
            runtime_env={"env_vars": variables}, **quiet,
        )  # fmt: skip
        return
    environment = {"env_vars": variables, "py_modules": [str(ROOT / name) for name in PACKAGES]}
    _knock(address)
    try:
        ray.init(address, runtime_env=environment, **quiet)
    except (ConnectionError, TimeoutError, ValueError) as error:
        raise _no_cluster(address, error) from None


def _knock(address: str) -> None:
    """Whether somebody listens at HOST:PORT. Ray itself tries for minutes."""
    host, _, port = address.removeprefix("ray://").partition(":")
    if port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise _no_cluster(address, error) from None


def _no_cluster(address: str, error: Exception) -> UserError:
    return UserError(
        f"ray_address {address}: no cluster answers there ({first_line(error)});"
        " start one with `ray start --head`, or set ray_address to null"
    )
