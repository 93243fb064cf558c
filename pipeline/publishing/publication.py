"""Publish the mapped tasks of a run: decisions, shards, manifest, statistics, report, checksums, upload."""

from __future__ import annotations

from tqdm import tqdm

from foundation.errors import UserError
from foundation.failpoints import failpoint
from foundation.logs import get_logger
from pipeline.clock import Clock
from pipeline.publishing.byproducts import write_byproducts
from pipeline.publishing.decide import Decisions, check_bad_records, decide
from pipeline.publishing.publish import build_manifest, commit, input_entries, remove_left_over, write_shards
from pipeline.report.making import Facts
from pipeline.report.page import remove_report, write_report
from pipeline.setup import Setup
from pipeline.sources.base import Task
from pipeline.verification.checksums import write_checksums
from pipeline.workspace.parts import Summary
from shards.manifest import Manifest
from shards.megatron import token_dtype
from tokenization.tokenizer import Tokenizer

log = get_logger("pipeline")


class Publication:
    """The publishing of `tasks`, those of the whole `plan`; `mapped` are the keys of the tasks that this run mapped."""

    def __init__(self, setup: Setup, tasks: list[Task], plan: str, mapped: set[str], clock: Clock) -> None:
        self._setup, self._tasks, self._plan, self._mapped, self._clock = setup, tasks, plan, mapped, clock
        self._config, self._work = setup.config, setup.work

    def publish(self, tokenizer: Tokenizer) -> Manifest:
        """Publish the dataset. Raises `UserError` when too much was unreadable or nothing is left."""
        config, tasks = self._config, self._tasks
        with self._clock.timed("decide"):
            decisions = self._decide()
        failpoint("publish.before_shards", config.output)
        with self._clock.timed("publish"):
            manifest = self._write(decisions, tokenizer)
        with self._clock.timed("statistics"):
            write_byproducts(config.output, manifest, tokenizer, decisions, tasks, config.rejected_samples)
            remove_left_over(config.output, manifest)
        for part in decisions.summaries:
            for step, seconds in part.seconds.items():
                self._clock.add(f"map/{step}", seconds)
        self._report(decisions.summaries)
        failpoint("publish.before_checksums", config.output)
        write_checksums(config.output)  # of everything before it, so it stays the last
        with self._clock.timed("upload"):
            self._send(manifest)
        self._work.commit_published(manifest.identity, self._plan)
        for task, part in zip(tasks, decisions.summaries, strict=True):
            if part.damage:
                log.warning("%s: damaged, read up to the damage (%s)", task.path, part.damage)
        return manifest

    def _decide(self) -> Decisions:
        config, work = self._config, self._work
        parts = [work.part(task) for task in self._tasks]
        decisions = decide(config, parts, self._tasks, work.directory / "dedup")
        check_bad_records(config, decisions.summaries, self._tasks)
        if not any((splits >= 0).any() for splits in decisions.splits):
            raise UserError(f"{work.place.shown}: no document is left to publish; see {work.directory}")
        return decisions

    def _write(self, decisions: Decisions, tokenizer: Tokenizer) -> Manifest:
        config, setup, tasks = self._config, self._setup, self._tasks
        entries = input_entries(setup.inputs, tasks, [s.digests for s in decisions.summaries])
        sources = [task.source for task in tasks]
        total = sum(part.tokens for part in decisions.summaries)
        dtype = token_dtype(tokenizer.vocab_size)
        with tqdm(total=total, unit="tok", unit_scale=True, desc="publish") as bar:
            splits = write_shards(config, decisions, sources, dtype, bar.update, tokenizer.roles.terminator)
        manifest = build_manifest(config, setup.settings, tokenizer, entries, splits)
        commit(config.output, manifest, tokenizer)
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
        facts = Facts.gather(self._clock.seconds, workers, mapped, sum(sizes.values()))
        write_report(config.output, self._work.place.name, facts)

    def _send(self, manifest: Manifest) -> None:
        target = self._setup.target
        with tqdm(
            total=target.bytes_to_send(manifest), unit="B", unit_scale=True, desc="upload",
            disable=self._work.place.output_url is None,
        ) as bar:  # fmt: skip
            target.send(manifest, bar.update)
