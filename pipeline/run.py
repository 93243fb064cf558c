"""One run, under the dataset's lock: tokenizer, map, publish. What publishing needs is loaded while workers start."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from tqdm import tqdm

from foundation.errors import UserError
from foundation.failpoints import failpoint
from foundation.logs import get_logger
from pipeline.clock import Clock
from pipeline.executors.base import Executor, Outcome
from pipeline.executors.choose import make_executor
from pipeline.mapping.setup import MapSetup
from pipeline.mapping.versions import told
from pipeline.setup import Setup
from pipeline.sources.base import Task
from pipeline.tokenizer_stage import prepare_tokenizer
from shards.manifest import Manifest
from tokenization.tokenizer import Tokenizer

PUBLICATION = "pipeline.publishing.publication"
log = get_logger("pipeline")


class Run:
    """Maps what is missing and publishes, or maps one slice."""

    def __init__(self, setup: Setup, tasks: list[Task], plan: str) -> None:
        self._setup, self._tasks, self._plan = setup, tasks, plan
        self._config, self._work = setup.config, setup.work
        self._clock = Clock()
        self._mapped: set[str] = set()  # keys of the tasks that this run maps

    def publish(self) -> Manifest:
        """Map what is missing of all tasks and publish the dataset."""
        tokenizer = self._map_all(self._tasks, lambda: import_module(PUBLICATION))
        from pipeline.publishing.publication import Publication

        publication = Publication(self._setup, self._tasks, self._plan, self._mapped, self._clock)
        manifest = publication.publish(tokenizer)
        self._work.add_timings(self._clock.seconds)
        return manifest

    def map_slice(self, tasks: list[Task]) -> None:
        """Map what is missing of `tasks`, a share of the plan's; publish nothing."""
        self._map_all(tasks, lambda: None)
        self._work.add_timings(self._clock.seconds)

    def _map_all(self, tasks: list[Task], meanwhile: Callable[[], object]) -> Tokenizer:
        """Map the pending ones of `tasks`. When the fast engine is found wrong, its parts are pending again.
        `meanwhile` is called while the workers load."""
        work = self._work
        while True:
            unique = {task.key: task for task in tasks}  # copies of one file have the same part
            with self._clock.timed("check"):
                pending = [task for task in unique.values() if not work.is_done(task)]
            self._tell_other_versions(pending, len(unique))
            if 0 < len(pending) < len(unique):
                log.info("resuming: %d of %d tasks are done", len(unique) - len(pending), len(unique))
            with self._clock.timed("tokenizer"):
                tokenizer = self._tokenizer()
            with make_executor(self._config, self._map_setup(), len(pending)) as executor:
                meanwhile()
                with self._clock.timed("map"):
                    mismatch = self._map(executor, list(unique.values()), pending)
            if mismatch is None:
                return tokenizer
            log.warning(
                "the fast tokenizer is wrong on %r; encoding this dataset with the reference engine instead", mismatch
            )
            work.commit_mismatch(mismatch)

    def _tell_other_versions(self, pending: list[Task], total: int) -> None:
        """Say which parts are there and count no longer."""
        now = self._work.versions
        others = [made for task in pending if (made := self._work.versions_of(task)) is not None and made != now]
        if others:
            log.warning(
                "%d of %d tasks were mapped with other versions (%s) and are mapped again: a dataset mixes none",
                len(others), total, told(others[0], now),
            )  # fmt: skip

    def _tokenizer(self) -> Tokenizer:
        setup, work = self._setup, self._work
        with work.tokenizer_lock():
            work.fetch_tokenizer()
            ready = setup.given
            if ready is None and setup.existing is not None:
                ready = Tokenizer.from_files(setup.target.tokenizer_files())
            tokenizer = prepare_tokenizer(self._config, self._tasks, work.tokenizer, ready)
            failpoint("tokenizer.after_saving", work.tokenizer)
            work.share_tokenizer()
        return tokenizer

    def _map_setup(self) -> MapSetup:
        work, config = self._work, self._config
        reference = config.tokenizer_engine == "reference" or work.mismatch is not None
        return MapSetup(config, work.tokenizer, work.store, None if reference else self._setup.engine_factory)

    def _map(self, executor: Executor, tasks: list[Task], pending: list[Task]) -> str | None:
        """Map the `pending` of `tasks`; the text on which the fast engine was found wrong, or None."""
        work = self._work
        self._mapped = {task.key for task in pending}
        total, left = (sum(task.bytes for task in group) for group in (tasks, pending))
        with tqdm(total=total, initial=total - left, unit="B", unit_scale=True, desc="map") as bar:
            try:
                outcome = executor.run(pending, work.commit_part, bar.update)
            finally:
                executor.stop()
                work.remove_temporaries()  # of workers that were stopped in the middle
        if outcome.mismatch is None:
            _refuse_incomplete(outcome)
        return outcome.mismatch


def _refuse_incomplete(outcome: Outcome) -> None:
    problems = [f"{path}: changed while it was read" for path in sorted(outcome.changed)]
    problems += [f"{task.label}: {reason}" for task, reason in outcome.failed]
    if problems:
        raise UserError(
            "\n  ".join(["nothing was published, because parts of the input are missing:", *problems])
            + "\nRun the same command with --resume to try these again; the rest is done"
        )
