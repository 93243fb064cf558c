"""One run, under the dataset's lock: tokenizer, map, publish. Imports everything; loaded when there is work to do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from foundation.errors import UserError
from foundation.failpoints import failpoint
from foundation.logs import get_logger
from pipeline.config import PipelineConfig
from pipeline.executors.base import Executor, Outcome
from pipeline.executors.choose import make_executor
from pipeline.mapping.map_task import MapSetup
from pipeline.publishing.byproducts import write_byproducts
from pipeline.publishing.decide import check_bad_records, decide
from pipeline.publishing.publish import build_manifest, commit, input_entries, remove_unnamed, write_shards
from pipeline.publishing.target import Target
from pipeline.report.making import Facts
from pipeline.report.page import remove_report, write_report
from pipeline.sources.base import InputFile, Task
from pipeline.tokenizer_stage import prepare_tokenizer
from pipeline.verification.checksums import write_checksums
from pipeline.workspace.area import Work
from pipeline.workspace.parts import Summary
from shards.manifest import Manifest
from shards.megatron import token_dtype
from tokenization.tokenizer import Tokenizer

log = get_logger("pipeline")


@dataclass(frozen=True)
class Setup:
    """What a run is about. `config.output` is the local directory in which the dataset is built."""

    config: PipelineConfig
    settings: dict[str, Any]
    inputs: list[InputFile]
    work: Work
    target: Target
    engine_factory: str
    existing: Manifest | None
    given: Tokenizer | None


class Run:
    """Maps what is missing and publishes, or maps one slice."""

    def __init__(self, setup: Setup, tasks: list[Task], plan: str) -> None:
        self._setup, self._tasks, self._plan = setup, tasks, plan
        self._config, self._work = setup.config, setup.work
        self._seconds: dict[str, float] = {}
        self._mapped: set[str] = set()  # keys of the tasks that this run maps

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._seconds[step] = self._seconds.get(step, 0.0) + time.perf_counter() - started

    def publish(self) -> Manifest:
        """Map what is missing of all tasks and publish the dataset."""
        tokenizer = self._map_all(self._tasks)
        manifest = self._publish(tokenizer)
        self._work.add_timings(self._seconds)
        return manifest

    def map_slice(self, tasks: list[Task]) -> None:
        """Map what is missing of `tasks`, a share of the plan's; publish nothing."""
        self._map_all(tasks)
        self._work.add_timings(self._seconds)

    def _map_all(self, tasks: list[Task]) -> Tokenizer:
        """Map the pending ones of `tasks`. When the fast engine is found wrong, its parts are pending again."""
        config, work = self._config, self._work
        while True:
            unique = {task.key: task for task in tasks}  # files of equal content have equal parts
            with self._timed("check"):
                pending = [task for task in unique.values() if not work.is_done(task)]
            if 0 < len(pending) < len(unique):
                log.info("resuming: %d of %d tasks are done", len(unique) - len(pending), len(unique))
            with make_executor(config, len(pending)) as executor:
                with self._timed("tokenizer"):
                    tokenizer = self._tokenizer()
                with self._timed("map"):
                    mismatch = self._map(executor, list(unique.values()), pending)
            if mismatch is None:
                return tokenizer
            log.warning(
                "the fast tokenizer is wrong on %r; encoding this dataset with the reference engine instead", mismatch
            )
            work.commit_mismatch(mismatch)

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

    def _map(self, executor: Executor, tasks: list[Task], pending: list[Task]) -> str | None:
        """Map the `pending` of `tasks`; the text on which the fast engine was found wrong, or None."""
        work, config = self._work, self._config
        reference = config.tokenizer_engine == "reference" or work.mismatch is not None
        setup = MapSetup(config, work.tokenizer, work.store, None if reference else self._setup.engine_factory)
        self._mapped = {task.key for task in pending}
        total, left = (sum(task.bytes for task in group) for group in (tasks, pending))
        with tqdm(total=total, initial=total - left, unit="B", unit_scale=True, desc="map") as bar:
            try:
                outcome = executor.run(setup, pending, work.commit_part, bar.update)
            finally:
                executor.stop()
                work.remove_temporaries()  # of workers that were stopped in the middle
        if outcome.mismatch is None:
            _refuse_incomplete(outcome)
        return outcome.mismatch

    def _publish(self, tokenizer: Tokenizer) -> Manifest:
        config, tasks, setup = self._config, self._tasks, self._setup
        sources = [task.source for task in tasks]
        with self._timed("decide"):
            parts = [self._work.part(task) for task in tasks]
            decisions = decide(config, parts, tasks, self._work.directory / "dedup")
            check_bad_records(config, decisions.summaries)
            kept = int(sum((splits >= 0).sum() for splits in decisions.splits))
            if not kept:
                raise UserError(f"{self._work.place.shown}: no document is left to publish; see {self._work.directory}")
        failpoint("publish.before_shards", config.output)
        with self._timed("publish"):
            entries = input_entries(setup.inputs, tasks, [s.digests for s in decisions.summaries])
            total = sum(part.tokens for part in decisions.summaries)
            dtype = token_dtype(tokenizer.vocab_size)
            with tqdm(total=total, unit="tok", unit_scale=True, desc="publish") as bar:
                splits = write_shards(config, decisions, sources, dtype, bar.update, tokenizer.roles.terminator)
            manifest = build_manifest(config, setup.settings, tokenizer, entries, splits)
            commit(config.output, manifest, tokenizer)
        with self._timed("statistics"):
            write_byproducts(config.output, manifest, tokenizer, decisions, tasks, config.rejected_samples)
            remove_unnamed(config.output, manifest)
        for part in decisions.summaries:
            for step, seconds in part.seconds.items():
                self._seconds[f"map/{step}"] = self._seconds.get(f"map/{step}", 0.0) + seconds
        self._report(decisions.summaries)
        failpoint("publish.before_checksums", config.output)
        write_checksums(config.output)  # of everything before it, so it stays the last
        with self._timed("upload"):
            self._send(manifest)
        self._work.commit_published(manifest.identity, self._plan)
        for task, part in zip(tasks, decisions.summaries, strict=True):
            if part.damage:
                log.warning("%s: damaged, read up to the damage (%s)", task.path, part.damage)
        return manifest

    def _report(self, summaries: list[Summary]) -> None:
        """Write the page for people, or remove that of an earlier version."""
        config = self._config
        if not config.report:
            remove_report(config.output)
            return
        sizes = {task.key: part.extracted_bytes for task, part in zip(self._tasks, summaries, strict=True)}
        mapped = sum(size for key, size in sizes.items() if key in self._mapped)
        workers = min(config.worker_count(), max(1, len(self._mapped)))
        facts = Facts.gather(self._seconds, workers, mapped, sum(sizes.values()))
        write_report(config.output, self._work.place.name, facts)

    def _send(self, manifest: Manifest) -> None:
        target = self._setup.target
        with tqdm(
            total=target.bytes_to_send(manifest), unit="B", unit_scale=True, desc="upload",
            disable=self._work.place.output_url is None,
        ) as bar:  # fmt: skip
            target.send(manifest, bar.update)


def _refuse_incomplete(outcome: Outcome) -> None:
    problems = [f"{path}: changed while it was read" for path in sorted(outcome.changed)]
    problems += [f"{task.label}: {reason}" for task, reason in outcome.failed]
    if problems:
        raise UserError(
            "\n  ".join(["nothing was published, because parts of the input are missing:", *problems])
            + "\nRun the same command with --resume to try these again; the rest is done"
        )
